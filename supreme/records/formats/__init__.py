"""ECG files of hospitals: each format is one module here and one row of :data:`FORMATS`.

A format is recognised by its content. A module has ``read(content: bytes) -> EcgFile``; it is imported when
the first file of its format is read, so that its library is needed only then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.records.formats.ecg_file import EcgFile

_MAX_RATE_HZ = 1e6
#: Comments may stand before the root element of an XML file.
_HEAD_BYTES = 1 << 16
_NO_ROOT = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)")
_DICOM_WITHOUT_PREAMBLE = (
    b"\2\0\0\0UL\4\0",
    b"\x08\0\5\0",
    b"\x08\0\x12\0",
    b"\x08\0\x16\0",
    b"\x08\0\0\0\4\0\0\0",
)


class Format(NamedTuple):
    """A format of ECG files."""

    name: str
    module: str
    matches: Callable[[bytes, str], bool]
    """Of the bytes of a file, and the name of the root element where it is XML."""


def _is_scp(content: bytes, root: str) -> bool:
    length = int.from_bytes(content[2:6], "little")
    return content[16:22] == b"SCPECG" or (
        length == len(content) > 136 and content[8:14] == b"\0\0\x88\0\0\0"
    )


def _is_dicom(content: bytes, root: str) -> bool:
    return content[128:132] == b"DICM" or content.startswith(_DICOM_WITHOUT_PREAMBLE)


FORMATS = (
    Format("DICOM", "dicom", _is_dicom),
    Format("GE MUSE XML", "muse", lambda content, root: root == "RestingECG"),
    Format("Philips XML", "philips", lambda content, root: root == "restingecgdata"),
    Format("HL7 aECG", "aecg", lambda content, root: root == "AnnotatedECG"),
    Format("SCP-ECG", "scp", _is_scp),
    Format("EDF", "edf", lambda content, root: content.startswith(b"0       ")),
)
#: What people have beside their ECGs, and what to do with it.
_OTHERS = (
    (b"%PDF", "a PDF, which is a picture: export the ECG's samples"),
    (b"\x89PNG", "a picture: export the ECG's samples"),
    (b"\xff\xd8\xff", "a picture: export the ECG's samples"),
    (b"II*\0", "a picture: export the ECG's samples"),
    (b"MM\0*", "a picture: export the ECG's samples"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
    (b"PK\3\4", "a zip archive: unpack it"),
    (b"Rar!", "a rar archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Office or other OLE file, perhaps with a password: export the ECG's samples"),
    (b"\x89HDF\r\n", "HDF5: name the file .hdf5, so that its records are listed"),
    (b"\x93NUMPY", "NumPy: name the file .npy"),
    (b"\xffBIOSEMI", "BDF: convert it to EDF"),
    (b"ISHNE1.0", "an ISHNE Holter file, which is not read"),
    (b"Salted__", "encrypted: decrypt it first"),
)


def read_ecg(content: bytes) -> EcgFile:
    """The ECG in a file of any of :data:`FORMATS`.

    Raises:
        BadRecord: `unknown_format`, `encrypted`, or why the file cannot be used.
        ConfigError: the format's library is not installed.
    """
    form = recognise(content)
    try:
        module = import_module(f"{__name__}.{form.module}")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{form.name} files need the package {error.name}: pip install 'supreme-ecg[formats]'"
        ) from error
    try:
        ecg: EcgFile = module.read(content)
    except (BadRecord, MemoryError):
        raise
    except Exception as error:
        # The libraries' messages quote what stands in the file, which may be a name.
        raise BadRecord("unreadable", f"no valid {form.name} file ({type(error).__name__})") from error
    if not 0 < ecg.rate_hz <= _MAX_RATE_HZ:
        raise BadRecord("unknown_rate", f"{ecg.rate_hz:g} Hz is no sampling rate")
    return ecg


def recognise(content: bytes) -> Format:
    """The format of a file.

    Raises:
        BadRecord: `unknown_format` or `encrypted`, with what it is instead where that is known.
    """
    root = xml_root(content)
    for form in FORMATS:
        if form.matches(content, root):
            return form
    if root:
        known = "MUSE's RestingECG, Philips's restingecgdata, HL7's AnnotatedECG"
        raise BadRecord("unknown_format", f"XML of another product (<{root[:40]}>); read are {known}")
    if content.startswith(b"PK\3\4") and len(content) > 6 and content[6] & 1:
        raise BadRecord("encrypted", "a zip archive with a password: unpack it")
    for start, what in _OTHERS:
        if content.startswith(start):
            raise BadRecord("unknown_format", what)
    names = ", ".join(form.name for form in FORMATS)
    raise BadRecord("unknown_format", f"its content is none of {names}")


def xml_root(content: bytes) -> str:
    """Name of the root element of an XML file, without its namespace; empty for any other file."""
    head = content[:_HEAD_BYTES]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "ignore")
    elif head[:2] in (b"<\0", b"\0<"):
        text = head.decode("utf-16-le" if head[:1] == b"<" else "utf-16-be", "ignore")
    else:
        text = head.decode("utf-8-sig", "replace")
    place = 0
    while match := _NO_ROOT.match(text, place):
        place = match.end()
    root = _ROOT.match(text, place)
    return root[1] if root else ""
