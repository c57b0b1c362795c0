"""The versions of a registered model, for people: aliases, values with intervals, recipe, date."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict

from supreme import config
from supreme.registry.facts import RESULTS, VersionValue, results_of
from supreme.registry.versions import registered_model
from supreme.tracking import server


class VersionRow(BaseModel):
    """One version."""

    model_config = ConfigDict(frozen=True)

    model_uri: str
    version: int
    aliases: tuple[str, ...]
    date: str
    recipe: str
    tags: dict[str, str]
    values: dict[str, VersionValue]
    """Of the last evaluation: data set or protocol/benchmark -> macro AUROC."""

    def line(self) -> str:
        """For people, in one line."""
        aliases = f" ({', '.join(self.aliases)})" if self.aliases else ""
        what = " ".join(filter(None, (self.tags.get(key, "") for key in ("encoder", "objective", "loss"))))
        values = "; ".join(f"{name} {value.text()}" for name, value in self.values.items())
        return (
            f"{self.version}{aliases}  {self.date}  {self.recipe or '-'}  {what}  {values or 'not evaluated'}"
        )


def versions_of(model: str, where: Mapping[str, str], tracking_uri: str | None) -> list[VersionRow]:
    """The versions of a registered model whose tags match, newest first.

    Args:
        where: tag -> value, in which ``*`` stands for anything; a version without the tag does not match.

    Raises:
        ConfigError: there is no such model, or no version has one of the tags.
    """
    client = server.connect(tracking_uri)
    aliases = registered_model(model, tracking_uri).aliases
    versions: list[ModelVersion] = []
    token: str | None = None
    while token != "":
        page = client.search_model_versions(f"name = '{model}'", page_token=token)
        versions += page
        token = page.token or ""
    known = {tag for version in versions for tag in version.tags}
    if unknown := sorted(where.keys() - known):
        raise config.ConfigError(
            f"models.where: no version of {model} has a tag {unknown[0]!r}; tags: {', '.join(sorted(known))}"
        )
    rows = [
        VersionRow(
            model_uri=f"models:/{model}/{version.version}",
            version=int(version.version),
            aliases=tuple(sorted(name for name, at in aliases.items() if int(at) == int(version.version))),
            date=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(" ", "minutes")[
                :16
            ],
            recipe=version.tags.get("recipe", ""),
            tags={key: value for key, value in sorted(version.tags.items()) if key != RESULTS},
            values=results_of(version.tags),
        )
        for version in versions
        if all(fnmatchcase(version.tags.get(tag, ""), pattern) for tag, pattern in where.items())
    ]
    return sorted(rows, key=lambda row: -row.version)
