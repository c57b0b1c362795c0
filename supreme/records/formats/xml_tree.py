"""XML of unknown origin: no entities, nothing from outside, bounded in size and depth."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from supreme.ecg import BadRecord

_MAX_BYTES = 1 << 25
#: An ECG has some thousands, twenty deep.
_MAX_ELEMENTS, _MAX_DEPTH = 200_000, 100


class _BoundedBuilder(TreeBuilder):
    """Builds a tree whose names have no namespaces."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = self._depth = 0

    def start(self, tag: Any, attributes: Any) -> Element:
        self._elements += 1
        self._depth += 1
        if self._elements > _MAX_ELEMENTS or self._depth > _MAX_DEPTH:
            raise BadRecord("unsafe_header", "more XML elements, or deeper ones, than an ECG has")
        return super().start(tag.rpartition("}")[2], attributes)

    def end(self, tag: Any) -> Element:
        self._depth -= 1
        return super().end(tag.rpartition("}")[2])


def parse(content: bytes) -> Element:
    """The root element; names are without namespaces.

    Raises:
        BadRecord: `unsafe_header` for entities, `too_large`, `unreadable` for what is no well-formed XML.
    """
    if len(content) > _MAX_BYTES:
        raise BadRecord("too_large", f"{len(content):,} bytes of XML; at most {_MAX_BYTES:,} are read")
    parser = DefusedXMLParser(target=_BoundedBuilder(), forbid_dtd=False, forbid_entities=True)
    try:
        parser.feed(content)
        root: Element = parser.close()
    except DefusedXmlException as error:
        raise BadRecord("unsafe_header", "the XML declares entities, which no ECG needs") from error
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, BadRecord):
            raise
        detail = str(error) if isinstance(error, ParseError) else type(error).__name__
        raise BadRecord("unreadable", f"no well-formed XML: {detail}") from error
    return root


def text_of(element: Element | None, path: str = ".") -> str:
    """Text of the first element at a path, without blanks at its ends; empty where there is none."""
    below = None if element is None else element.find(path)
    return "" if below is None else (below.text or "").strip()


def attribute_of(element: Element | None, path: str, name: str) -> str:
    """An attribute of the first element at a path; empty where there is none."""
    below = None if element is None else element.find(path)
    return "" if below is None else below.get(name, "").strip()


def decode_base64(element: Element | None) -> bytes:
    """The bytes of an element in base64.

    Raises:
        BadRecord: `truncated` or `unreadable`.
    """
    text = "".join((element.text or "").split()) if element is not None else ""
    if len(text) % 4:
        raise BadRecord("truncated", f"{len(text):,} characters of base64 are no multiple of four")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRecord("unreadable", f"no valid base64: {error}") from error
