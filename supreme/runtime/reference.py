"""The configuration reference of `jobs/README.md`, from the docstrings of the sections.

python -m supreme.runtime.reference jobs/README.md    writes it between its two marks
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, JsonValue
from pydantic.fields import FieldInfo

from supreme.config import Recipe
from supreme.settings.section import Limit, Section

BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"


def reference() -> str:
    """Every key of a recipe as Markdown: type, default, limits, meaning."""
    lines = [BEGIN, "", *_table("Recipe", Recipe, "")]
    for title, section, prefix in _sections(Recipe, ""):
        lines += ["", *_table(title, section, prefix)]
    return "\n".join([*lines, "", END])


def update(page: str) -> str:
    """The page with the reference between its marks renewed.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return before + reference() + after


def _sections(model: type[Section], prefix: str) -> Iterator[tuple[str, type[Section], str]]:
    for name, field in model.model_fields.items():
        for section in _section_types(field.annotation):
            many = get_origin(field.annotation) is tuple
            title = f"[[{prefix}{name}]]" if many else f"[{prefix}{name}]"
            item = "N." if many else "KEY." if get_origin(field.annotation) is dict else ""
            below = f"{prefix}{name}.{item}"
            yield title, section, below
            yield from _sections(section, below)


def _section_types(annotation: Any) -> list[type[Section]]:
    candidates = [annotation, *get_args(annotation)]
    return [one for one in candidates if isinstance(one, type) and issubclass(one, Section)]


def _table(title: str, section: type[Section], prefix: str) -> list[str]:
    head = [f"#### {title}", "", _text(inspect.getdoc(section) or ""), ""] if prefix else []
    rows = ["| key | values | default | |", "| --- | --- | --- | --- |"]
    for name, field in section.model_fields.items():
        if not _section_types(field.annotation):
            values = _values(field.annotation, field.metadata)
            cells = (f"`{prefix}{name}`", values, _default(field), _text(field.description or ""))
            rows.append("| " + " | ".join(cells) + " |")
    return head + rows if len(rows) > 2 else head


def _values(annotation: Any, metadata: list[Any]) -> str:
    """Type and limits of a field for people."""
    if hasattr(annotation, "__metadata__"):
        return _values(annotation.__origin__, [*annotation.__metadata__, *metadata])
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " ".join(f"`{value}`" for value in arguments)
    if get_origin(annotation) in (Union, UnionType):
        return ", ".join(_values(one, metadata) for one in arguments if one is not NoneType)
    if get_origin(annotation) is tuple:
        return f"list of {_values(arguments[0], [])}"
    if get_origin(annotation) is dict:
        return "table"
    names = {int: "integer", float: "number", str: "text", bool: "`true` `false`", JsonValue: "values"}
    return " ".join([names[annotation], *_limits(metadata)])


def _limits(metadata: list[Any]) -> Iterator[str]:
    for item in metadata:
        if hasattr(item, "metadata"):  # a Field within Annotated
            yield from _limits(item.metadata)
        elif isinstance(item, AfterValidator) and isinstance(item.func, Limit):
            yield f"≤ {item.func.value:,.10g}"
        for sign, mark in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            if (limit := getattr(item, sign, None)) is not None:
                yield f"{mark} {limit:,.10g}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    if value is None or value in ("", [], {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _text(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").replace("|", "\\|").split())


def main(path: str) -> None:
    """Renew the reference in a page."""
    page = Path(path)
    page.write_text(update(page.read_text()))


if __name__ == "__main__":
    main(sys.argv[1])
