"""Console lines for people and JSON lines for machines; secrets are redacted in both."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from supreme.redaction import redact as redact
from supreme.redaction import redact_values as redact_values

#: Environment variable: `json` for JSON lines on stderr.
FORMAT = "SUPREME_LOG_FORMAT"


@dataclass(frozen=True)
class Context:
    """What this process works on: in every JSON line, and the labels of metrics."""

    run: str = ""
    """Name of the recipe."""
    stage: str = ""
    rank: int = 0
    """Of a training worker."""


_context = Context()


def bind(run: str, stage: str, rank: int = 0) -> None:
    """Say what this process works on."""
    global _context
    _context = Context(run, stage, rank)


def bound() -> Context:
    """What this process works on."""
    return _context


class _Console(logging.Formatter):
    def __init__(self, label: str = "") -> None:
        super().__init__()
        self.label = f" [{label}]" if label else ""

    def format(self, record: logging.LogRecord) -> str:
        name = record.name.removeprefix("supreme.")
        return redact(f"{time.strftime('%H:%M:%S')} {name}{self.label}: {super().format(record)}")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {"time": record.created, "level": record.levelname, "logger": record.name}
        fields |= {**asdict(_context), "message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        # Before they are quoted: a quotation mark in a secret is another text then.
        return json.dumps(redact_values(fields), default=lambda value: redact(str(value)))


def configure(level: str = "INFO", json_file: str | None = None, label: str = "") -> None:
    """Send the `supreme` loggers to stderr, and to a JSON-lines file when one is named.

    With ``SUPREME_LOG_FORMAT=json`` stderr has JSON lines too, for machines that collect logs. ``label``
    stands on every other line: the name of the run that this process belongs to.
    """
    logger = logging.getLogger("supreme")
    logger.setLevel(level)
    logger.propagate = False
    logger.handlers.clear()
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_JsonLines() if os.environ.get(FORMAT) == "json" else _Console(label))
    logger.addHandler(console)
    if json_file:
        os.makedirs(os.path.dirname(os.path.abspath(json_file)), exist_ok=True)
        lines = logging.FileHandler(json_file)
        lines.setFormatter(_JsonLines())
        logger.addHandler(lines)


def get(name: str) -> logging.Logger:
    """The logger of a part of the product, below `supreme`."""
    return logging.getLogger(name if name.startswith("supreme") else f"supreme.{name}")


class Progress:
    """A line every some seconds: done, total, rate and ETA."""

    def __init__(
        self, logger: logging.Logger, what: str, total: int, every_s: float = 10.0, done: int = 0
    ) -> None:
        """``done``: what an earlier run did, which does not count in the rate of this one."""
        self.logger, self.what, self.total, self.every_s = logger, what, total, every_s
        self.start = self.last = time.monotonic()
        self.first = done

    def update(self, done: int, **fields: Any) -> None:
        """Report the absolute count ``done``."""
        now = time.monotonic()
        if now - self.last < self.every_s and done < self.total:
            return
        self.last = now
        rate = (done - self.first) / max(now - self.start, 1e-9)
        eta_s = (self.total - done) / rate if rate > 0 else float("inf")
        extra = "".join(f" {key} {value}" for key, value in fields.items())
        self.logger.info(
            f"{self.what} {done:,}/{self.total:,} ({100 * done / max(self.total, 1):.0f} %) "
            f"{rate:,.0f}/s ETA {_clock(eta_s)}{extra}",
            extra={"fields": {"done": done, "total": self.total, "rate": rate, "eta_s": eta_s, **fields}},
        )


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
