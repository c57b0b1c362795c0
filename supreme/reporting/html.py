"""The templates of self-contained pages: one style, every value escaped, nothing loaded from elsewhere."""

from __future__ import annotations

from functools import cache

import jinja2

from supreme.reporting import figures


@cache
def template(name: str) -> jinja2.Template:
    """A template of this folder; each extends `base.html`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("supreme.reporting", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"seen_color": figures.SEEN, "unseen_color": figures.UNSEEN}
    return environment.get_template(name)
