"""The fault table's other places: object storage that goes away in mid-run, and names that nobody expects.

python tests/reliability/fault_table_places.py [--only STAGE FAULT] [--folder FOLDER]

To be run after fault_table.py, whose undisturbed roots it takes. The outcomes go to the same ``cells.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "jobs"), str(Path(__file__).parent)]

import pipeline_runs  # noqa: E402
from fault_stages import RESULTS, STAGES, Workshop, ended  # noqa: E402
from fault_table import HASTE, Outcome, outcome_of, tracking_server  # noqa: E402
from faulty_s3 import KEYS, Proxy, Request, lake, proxy  # noqa: E402
from wfdb_writer import write_csn  # noqa: E402

from supreme import manifest, storage  # noqa: E402

#: Of the requests of an undisturbed run, those after which the store is away.
SHARE = 0.6
ODD = "Ä ñ-1.0 (b)+[x], 心电"
ODD_ROOT = "runs of 1 & 'me' [x], ü"


@dataclass
class Away:
    """A plan for the proxy: the store serves so many requests, and then none."""

    serves: float
    served: int = field(default=0)

    def __call__(self, request: Request) -> str:
        self.served += 1
        return "" if self.served <= self.serves else "503 SlowDown"


@dataclass(frozen=True)
class Bucket:
    """A root on object storage."""

    workshop: Workshop
    store: Proxy
    prefix: str

    @property
    def root(self) -> str:
        return f"s3://lake/{self.prefix}?endpoint_override={self.store.address}&scheme=http&region=us-east-1"

    def fill(self, stage: str) -> None:
        """With what stages before this one left in a local root."""
        before = self.workshop.before(stage) / "smoke"
        for file in sorted(before.rglob("*")) if before.exists() else ():
            if file.is_file():
                uri = storage.join(self.root, "smoke", str(file.relative_to(before)))
                storage.write_bytes(uri, file.read_bytes())

    def start(self, stage: str, log: Path, **more: str) -> int:
        log.unlink(missing_ok=True)
        arguments = [word for word in self.workshop.arguments(stage) if not word.startswith("root=")]
        file = f"--result-file={log.with_suffix('.json')}"
        return ended(
            pipeline_runs.start(stage, *arguments, f"root={self.root}", file, log=log, **HASTE, **more)
        )

    def digests(self) -> Mapping[str, str]:
        """Of the files whose bytes are the same in every run."""
        folder = storage.join(self.root, "smoke")
        shown = manifest.Stage("", "", Outcome, RESULTS)  # type: ignore[type-var]
        names = [name for name in storage.list_files(folder) if shown.writes(name)]
        return {name: storage.sha256(storage.read_bytes(storage.join(folder, name))) for name in names}


def s3_away(workshop: Workshop, stage: str, store: Proxy) -> Outcome:
    """One run undisturbed, one whose store goes away, and the same command again."""
    log = workshop.folder / "logs" / f"{stage}-s3"
    whole, cut = (Bucket(workshop, store, f"{time.time_ns()}/{name}") for name in ("whole", "cut"))
    for bucket in (whole, cut):
        bucket.fill(stage)
    store.plan = away = Away(float("inf"))
    assert whole.start(stage, log.with_suffix(".whole")) == 0, log.with_suffix(".whole").read_text()[-2000:]
    store.plan, start = Away(SHARE * away.served), time.monotonic()
    code = cut.start(stage, log.with_suffix(".log"))
    seconds = time.monotonic() - start
    store.plan = lambda request: ""
    text = log.with_suffix(".log").read_text(errors="replace")
    rerun = cut.start(stage, log.with_suffix(".again"))
    return outcome_of(stage, "S3 away", (code,), seconds, text, rerun, cut.digests() == whole.digests())


def odd_names(workshop: Workshop, stage: str) -> Outcome:
    """Names and a root of letters, signs and blanks that a shell, a URL or a pattern takes for something."""
    log, root = workshop.folder / "logs" / f"{stage}-odd.log", workshop.folder / ODD_ROOT
    log.unlink(missing_ok=True)
    arguments = [word for word in workshop.arguments(stage) if not word.startswith("root=")]
    names = {"name": ODD, "sources.0.name": ODD, "tracking.model": ODD, "tracking.experiment": ODD}
    arguments += [f"root={root}", *(f"{key}={json.dumps(value)}" for key, value in names.items())]
    start, codes, digests = time.monotonic(), [], []
    for _ in range(2):
        codes.append(ended(pipeline_runs.start(stage, *arguments, log=log, **HASTE)))
        files = [file for pattern in RESULTS for file in sorted((root / ODD).glob(pattern))]
        digests.append({file: storage.sha256(file.read_bytes()) for file in files})
    text, seconds = log.read_text(errors="replace"), time.monotonic() - start
    is_equal = bool(digests[0]) and digests[0] == digests[1]
    return outcome_of(stage, "odd names", (codes[0],), seconds, text, codes[1], is_equal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs=2, metavar=("STAGE", "FAULT"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/fault-table"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    stage_only, fault_only = arguments.only or ("all", "all")
    os.environ |= KEYS | {"AWS_MAX_ATTEMPTS": "2"}
    (folder / "lake").mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    if not (folder / "ecgs").exists():
        write_csn(folder / "ecgs", 20)
    with (folder / "cells.jsonl").open("a") as output:

        def note(outcome: Outcome) -> None:
            print(outcome, flush=True)
            output.write(json.dumps(asdict(outcome)) + "\n")
            output.flush()

        if fault_only in ("all", "odd names"):
            workshop = Workshop(folder)
            for stage in ("pipeline", "sweep", "predict"):
                if stage_only in ("all", stage):
                    note(odd_names(workshop, stage))
        if fault_only in ("all", "S3 away"):
            with tracking_server(folder) as server, lake(folder / "lake") as address, proxy(address) as store:
                workshop = Workshop(folder, f"http://{server.address}")
                for stage in STAGES:
                    if stage_only in ("all", stage):
                        workshop.prepare("report" if stage in ("sweep", "predict", "pipeline") else stage)
                        note(s3_away(workshop, stage, store))


if __name__ == "__main__":
    main()
