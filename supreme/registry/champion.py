"""The aliases `champion` and `previous`: one process at a time moves them; each move is in the history."""

from __future__ import annotations

from mlflow.entities.model_registry import ModelVersion

from supreme import config, log
from supreme.registry import history, lock
from supreme.registry.history import DecisionNote, HistoryEntry
from supreme.registry.versions import CHAMPION, PREVIOUS, find, same, verify
from supreme.tracking import server

logger = log.get("registry")


def promote(version: ModelVersion, *, tracking_uri: str, note: DecisionNote) -> HistoryEntry:
    """Give a version the alias `champion`, whoever has it; the champion before it becomes `previous`.

    Raises:
        BundleError: the version's files are not there, or not those that were registered.
        TrackingError: the tracking server is away, or refuses the login.
    """
    verify(version, tracking_uri)
    with lock.exclusive(version.name, tracking_uri) as still_mine:
        champion = find(f"models:/{version.name}@{CHAMPION}", tracking_uri)
        still_mine()
        return _promote(version, champion, tracking_uri, note)


def replace_champion(
    version: ModelVersion, champion: ModelVersion | None, *, tracking_uri: str, note: DecisionNote
) -> HistoryEntry | None:
    """As :func:`promote`, if ``champion`` is the champion still (None: if there is none); else None.

    Of several processes that have compared their candidates with the same champion only one replaces it.

    Raises:
        BundleError: the version's files are not there, or not those that were registered.
        TrackingError: the tracking server is away, or refuses the login.
    """
    verify(version, tracking_uri)
    with lock.exclusive(version.name, tracking_uri) as still_mine:
        current = find(f"models:/{version.name}@{CHAMPION}", tracking_uri)
        is_unchanged = same(current, champion) if champion else current is None
        if not is_unchanged:
            return None
        still_mine()
        return _promote(version, current, tracking_uri, note)


def refuse(
    version: ModelVersion, champion: ModelVersion | None, *, tracking_uri: str, note: DecisionNote
) -> HistoryEntry:
    """Record that a version does not become the champion; the same decision again adds nothing."""
    with lock.exclusive(version.name, tracking_uri) as still_mine:
        last = next(reversed(history.read(version.name, tracking_uri)), None)
        before, reason = int(champion.version) if champion else None, history.clean(note.reason)
        if last and (last.version, last.champion, last.moved, last.reason) == (
            *(int(version.version), before, False, reason),
        ):
            return last
        still_mine()
        return _append("promote", version, champion, tracking_uri, note, moved=False)


def rollback(model: str, *, tracking_uri: str, note: DecisionNote) -> HistoryEntry:
    """Make `previous` the champion again; the champion before that one becomes `previous`, if there was one.

    Raises:
        ConfigError: there is no version to go back to.
        BundleError: its files are not there, or not those that were registered.
        TrackingError: the tracking server is away, or refuses the login.
    """
    history.read(model, tracking_uri)  # of a model that is not there nothing is locked
    with lock.exclusive(model, tracking_uri) as still_mine:
        entries = history.read(model, tracking_uri)
        champion = find(f"models:/{model}@{CHAMPION}", tracking_uri)
        previous = find(f"models:/{model}@{PREVIOUS}", tracking_uri)
        if previous is None:
            raise config.ConfigError(
                f"models:/{model} has no alias {PREVIOUS!r}: there is no earlier champion to go back to; "
                "promote.model=models:/NAME/VERSION promotes any other version"
            )
        if same(champion, previous) and (not entries or entries[-1].version != int(previous.version)):
            raise config.ConfigError(
                f"champion and previous of models:/{model} are both version {previous.version}: there is "
                "nothing to go back to"
            )
        verify(previous, tracking_uri)
        still_mine()
        client = server.connect(tracking_uri)
        if same(champion, previous):  # a rollback that was interrupted after its first alias
            entry = entries[-1]
        else:
            entry = _append("rollback", previous, champion, tracking_uri, note, moved=True)
            client.set_registered_model_alias(model, CHAMPION, previous.version)
        before = history.reigns([*entries, entry])[:-1]
        if before:
            client.set_registered_model_alias(model, PREVIOUS, str(before[-1]))
        else:
            client.delete_registered_model_alias(model, PREVIOUS)
        return entry


def moved_by_hand(entries: list[HistoryEntry], champion: ModelVersion | None) -> str:
    """What to say where the alias is not where the last decision put it; empty where it is."""
    decided = next((entry.version for entry in reversed(entries) if entry.moved), None)
    current = int(champion.version) if champion else None
    if decided is None or decided == current:
        return ""
    where = "is gone" if current is None else f"is at version {current}"
    return f"the alias {CHAMPION!r} {where}; the last decision put it at version {decided}: moved by hand"


def _promote(
    version: ModelVersion, champion: ModelVersion | None, tracking_uri: str, note: DecisionNote
) -> HistoryEntry:
    client = server.connect(tracking_uri)
    entry = _append("promote", version, champion, tracking_uri, note, moved=True)
    if champion is not None and not same(champion, version):
        client.set_registered_model_alias(version.name, PREVIOUS, champion.version)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    return entry


def _append(
    action: history.Action,
    version: ModelVersion,
    champion: ModelVersion | None,
    tracking_uri: str,
    note: DecisionNote,
    *,
    moved: bool,
) -> HistoryEntry:
    before = int(champion.version) if champion else None
    return history.append(
        version.name, action, int(version.version), before, note, moved=moved, tracking_uri=tracking_uri
    )
