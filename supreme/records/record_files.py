"""The WFDB headers of a folder, and which of them the id in a table means."""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from supreme import log, storage
from supreme.records import cells, is_hidden

HEADER = ".hea"
#: What tables append to a record's name.
_EXTENSIONS = (
    *(".hea", ".dat", ".mat", ".atr", ".csv", ".json", ".xml", ".png", ".pdf"),
    *(".dcm", ".dicom", ".scp", ".edf", ".npy"),
)
_NEAR = 0.75
#: So many ids without a record are compared with all names, which takes time.
_MOST_COMPARED = 3


def list_visible(uri: str, suffix: str = "", *, recursive: bool = True) -> list[str]:
    """Names below a folder, sorted, without hidden files; the log counts those that end with ``suffix``."""
    names = storage.list_files(uri, suffix, recursive=recursive)
    visible = [name for name in names if not is_hidden(name)]
    if suffix and len(visible) < len(names):
        hidden = next(name for name in names if is_hidden(name))
        count = len(names) - len(visible)
        message = f"{uri}: {count:,} hidden {suffix} files are left out (e.g. {printable(hidden)})"
        log.get(__name__).info(message)
    return visible


def printable(name: str) -> str:
    """A file name as text: bytes that are not UTF-8 are written out, as ``\\\\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def refusal(name: str) -> str:
    """Why a file of this name cannot be a record: ``reason: detail``, or empty."""
    if printable(name) != name:
        return "unsafe_name: the file name is not UTF-8: rename it"
    return ""


@dataclass(frozen=True)
class RecordFiles:
    """The records below a folder, by path without extension."""

    stems: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    """Where a record lies below the folder, if not at its path."""

    @classmethod
    def below(cls, uri: str, names: Iterable[str] | None = None) -> RecordFiles:
        """Of a folder, or of those of its ``names`` that are headers."""
        headers = list_visible(uri, HEADER) if names is None else (n for n in names if n.endswith(HEADER))
        return cls(tuple(sorted(name.removesuffix(HEADER) for name in headers)))

    def find(self, record: str) -> str | None:
        """The path that an id means, or None for none and for several.

        An id is a path or, where only one file has it, a name. Blanks at its ends, an extension, ``./``,
        backslashes, the Unicode form, case, and zeros before a number make no difference where one record
        alone fits.
        """
        if record in self._exact:
            return self._exact[record]
        for form, fold in ((self._plain, _plain), (self._loose, _loose)):
            if path := form.get(fold(record)):
                return path
        return None

    def place(self, path: str) -> str:
        """Where the record at a path lies below the folder."""
        return self.places.get(path, path)

    def spelling(self, record: str, path: str | None) -> str:
        """An id, as the file at ``path`` spells it where the table spells it in another way."""
        if path is None or record in self._exact:
            return record
        return printable(path if "/" in _plain(record) else _name(path))

    def describe_absent(self, records: Iterable[str]) -> str:
        """The first ids without a record, each with the record that is nearest to it by name."""
        described = []
        for record in list(records)[:_MOST_COMPARED]:
            near = difflib.get_close_matches(_loose(record), self._loose_all, n=1, cutoff=_NEAR)
            hint = f" (near: {printable(self._loose_all[near[0]])!r})" if near else ""
            described.append(f"{record!r}{hint}")
        return ", ".join(described)

    @cached_property
    def _exact(self) -> Mapping[str, str]:
        names = Counter(map(_name, self.stems))
        return {_name(stem): stem for stem in self.stems if names[_name(stem)] == 1} | {
            stem: stem for stem in self.stems
        }

    @cached_property
    def _plain(self) -> Mapping[str, str]:
        return _unique((_plain(spelling), stem) for spelling, stem in self._exact.items())

    @cached_property
    def _loose(self) -> Mapping[str, str]:
        return _unique((_loose(spelling), stem) for spelling, stem in self._exact.items())

    @cached_property
    def _loose_all(self) -> dict[str, str]:
        return {_loose(_name(stem)): stem for stem in self.stems} | {
            _loose(stem): stem for stem in self.stems
        }


def _name(stem: str) -> str:
    return stem.rpartition("/")[2]


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    paths: dict[str, set[str]] = {}
    for spelling, stem in pairs:
        paths.setdefault(spelling, set()).add(stem)
    return {spelling: stems.pop() for spelling, stems in paths.items() if len(stems) == 1}


def _plain(record: str) -> str:
    """An id as a path with slashes in Unicode NFC, without blanks at its ends and an extension."""
    text = unicodedata.normalize("NFC", record.strip().replace("\\", "/")).removeprefix("./")
    for extension in _EXTENSIONS:
        if text.casefold().endswith(extension):
            return text[: -len(extension)]
    return text


def _loose(record: str) -> str:
    """An id without regard to case and, where it is a number, to zeros before it or a ``.0`` after it."""
    folder, slash, name = _plain(record).casefold().rpartition("/")
    name = cells.key(name)
    return folder + slash + (name.lstrip("0") or "0" if name.isdecimal() else name)
