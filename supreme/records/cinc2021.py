"""PhysioNet Challenge 2021 training sets: WFDB with SNOMED CT codes in `#Dx`; each member is a data set.

Members repeat other data sets under other names: `cpsc_2018` holds the recordings of CPSC2018, `ptb-xl`
those of PTB-XL, `chapman_shaoxing` and `ningbo` those of CSN. All are kept; results on both are not
independent, and a model pre-trained on one has seen the other.
"""

from __future__ import annotations

from supreme import config, storage
from supreme.records import is_hidden
from supreme.records.wfdb_files import LabelledFolder, WfdbReader

LAYOUT = "CinC 2021: training/<set>/ with <set> one of cpsc_2018, cpsc_2018_extra, georgia, ptb, ptb-xl, ..."
MEMBERS = (
    "chapman_shaoxing",
    "cpsc_2018",
    "cpsc_2018_extra",
    "georgia",
    "ningbo",
    "ptb",
    "ptb-xl",
    "st_petersburg_incart",
)


def recognise(folder: str) -> list[config.Source]:
    """The member sets in a `training` folder, or the folder itself when it is one."""
    name = _name(folder)
    places = [folder] if name in MEMBERS else []
    if name == "training":
        places = [storage.join(folder, member) for member in storage.list_folders(folder)]
    members = [place for place in places if _name(place) in MEMBERS and _holds_records(place)]
    return [config.Source(kind="cinc2021", name=_name(place), uri=place) for place in members]


def open_folder(source: config.Source) -> LabelledFolder:
    """The records of one member set."""
    return LabelledFolder(source.dataset, source.uri, WfdbReader.of(source))


def _name(folder: str) -> str:
    return storage.filesystem(folder)[1].rpartition("/")[2]


def _holds_records(folder: str) -> bool:
    groups = [name for name in storage.list_folders(folder) if name.startswith("g")]
    places = [folder, *(storage.join(folder, name) for name in groups[:1])]
    names = (name for place in places for name in storage.list_files(place, ".hea", recursive=False))
    return any(not is_hidden(name) for name in names)
