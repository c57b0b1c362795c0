"""Stages for the fault table: each with finished inputs on a small disk, its command and its results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pipeline_runs

from supreme import storage

DEADLINE_S = 600
#: In the order in which one needs another; sweep, predict and pipeline start from what these have left.
ORDER = ("shard", "label", "pretrain", "register", "evaluate", "promote", "report")
#: Files whose bytes must be those of an undisturbed run.
RESULTS = (
    *("shards/*/*.parquet", "labels/*.parquet", "pretrain/weights.safetensors", "sweep/bundle/*.safetensors"),
    *("pretrain/bundle/model.safetensors", "evaluation/*/scores/*.parquet", "predictions*.parquet"),
)
#: Values of a result line that must be equal.
VALUES = ("weights_sha256", "macro_auroc", "promoted", "alias", "records", "vocabulary", "scored", "rejected")
FOREIGN = "thesis.tex"


def _exists(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: any(folder.glob(pattern))


def _reported(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: any(file.read_text().count("\n") for file in folder.glob(pattern))


@dataclass(frozen=True)
class StageCase:
    """One stage of the table."""

    folder: str
    """That it writes, relative to ``<root>/<name>``."""
    is_under_way: Callable[[Path], bool] | None = None
    """On ``<root>/<name>``; None: once it has run for half of the time that it takes undisturbed."""
    damaged: str = ""
    """An input that it reads, relative to ``<root>/<name>``."""
    options: tuple[str, ...] = ()
    uses_ray: bool = True
    uses_tracking: bool = True


STAGES = {
    "shard": StageCase("shards/simulated", _exists("shards/simulated/parts/*.json"), uses_tracking=False),
    "label": StageCase(
        "labels", _exists("labels/stage.json"), "shards/simulated/train-*.parquet", uses_tracking=False
    ),
    "pretrain": StageCase(
        "pretrain", _reported("pretrain/metrics.jsonl"), "shards/simulated/train-*.parquet"
    ),
    "sweep": StageCase(
        "sweep",
        _reported("sweep/*/metrics.jsonl"),
        "labels/labels.parquet",
        ("sweep.trials=2", "sweep.epochs=1", "sweep.finalists=1", "sweep.scheduler=none"),
    ),
    "register": StageCase("pretrain", None, "pretrain/bundle/model.safetensors", uses_ray=False),
    "evaluate": StageCase(
        "evaluation", _exists("evaluation/*/stage.json"), "shards/simulated/test-*.parquet", uses_ray=False
    ),
    "promote": StageCase("evaluation", None, "evaluation/*/scores/simulated.parquet", uses_ray=False),
    "report": StageCase("report", _exists("report/stage.json"), "evaluation/*/results.json", uses_ray=False),
    "predict": StageCase(
        ".",
        _exists("predictions.parts-*/*.parquet"),
        "**/*.dat",
        ('predict.queries=["atrial fibrillation?", "left bundle branch block?"]',),
    ),
    "pipeline": StageCase("labels", _reported("pretrain/metrics.jsonl")),
}


@dataclass(frozen=True)
class Finished:
    """A stage that nothing disturbed."""

    seconds: float
    values: Mapping[str, object]
    digests: Mapping[str, str]


@dataclass
class Workshop:
    """A root on a disk of its own, always at the same place, and copies of it from before every stage."""

    folder: Path
    tracking_uri: str = ""
    finished: dict[str, Finished] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "runs"

    @property
    def stage_folder(self) -> Path:
        return self.root / "smoke"

    @property
    def copies(self) -> Path:
        return self.folder / ("before-server" if self.tracking_uri else "before")

    def arguments(self, stage: str) -> list[str]:
        server = [f"tracking.uri={self.tracking_uri}"] if self.tracking_uri else []
        values = ["training.workers=1", f"root={self.root}", f"predict.uri={self.folder / 'ecgs'}", *server]
        return [*pipeline_runs.TINY, *values, *STAGES[stage].options]

    def start(self, stage: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """The job of a stage."""
        file = f"--result-file={log.with_suffix('.json')}"
        return pipeline_runs.start(stage, *self.arguments(stage), file, log=log, **environment)

    def run(self, stage: str, log: Path, **environment: str) -> int:
        """The exit code of a job that is not disturbed; 99 if it hangs."""
        return ended(self.start(stage, log, **environment))

    @contextmanager
    def restored(self, stage: str) -> Iterator[None]:
        """The root as it was before a stage, with files of somebody else in it."""
        with self._disk():
            if self.before(stage).exists():
                shutil.copytree(self.before(stage), self.root, dirs_exist_ok=True, symlinks=True)
            for place in self.foreign_files(stage):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("years of work")
            yield

    def foreign_files(self, stage: str) -> list[Path]:
        return [self.root / FOREIGN, self.stage_folder / STAGES[stage].folder / FOREIGN]

    def prepare(self, stage: str) -> None:
        """Run a stage, and those that it needs, once undisturbed, and keep the root from before it."""
        if not self.finished and self._marker.exists():
            self.finished = {k: Finished(**v) for k, v in json.loads(self._marker.read_text()).items()}
        last = ORDER.index(stage if stage in ORDER else self.before(stage).name)
        needed = [*ORDER[: last + (stage in ORDER)], *([] if stage in ORDER else [stage])]
        for each in needed:
            if each not in self.finished:
                self._finish(each)

    def _finish(self, stage: str) -> None:
        """Run a stage on what those before it in `ORDER` left."""
        with self._disk():
            before = self.copies / stage if stage in ORDER else self.before(stage)
            if before.exists():
                shutil.copytree(before, self.root, dirs_exist_ok=True, symlinks=True)
            log, start = self.copies / f"{stage}.log", time.monotonic()
            log.parent.mkdir(exist_ok=True)
            log.unlink(missing_ok=True)
            code = self.run(stage, log)
            assert code == 0, f"{stage} ended with {code}: {log.read_text()[-3000:]}"
            self.finished[stage] = Finished(time.monotonic() - start, self.values(log), self.digests())
            following = [*ORDER, "", ""][ORDER.index(stage) + 1] if stage in ORDER else ""
            if following:
                shutil.copytree(self.root, self.copies / following, symlinks=True)
        self._marker.write_text(json.dumps({k: vars(v) for k, v in self.finished.items()}))

    def before(self, stage: str) -> Path:
        """The copy of the root from before a stage."""
        return self.copies / {"sweep": "pretrain", "predict": "report", "pipeline": "shard"}.get(stage, stage)

    @property
    def _marker(self) -> Path:
        return self.copies / "finished.json"

    def values(self, log: Path) -> dict[str, object]:
        """What must be equal in the result of a job."""
        file = log.with_suffix(".json")
        result = json.loads(file.read_text()) if file.exists() else {}
        return {name: result[name] for name in VALUES if name in result}

    def digests(self) -> dict[str, str]:
        files = [file for pattern in RESULTS for file in sorted(self.stage_folder.glob(pattern))]
        return {str(f.relative_to(self.stage_folder)): storage.sha256(f.read_bytes()) for f in files}

    def is_equal(self, stage: str, log: Path) -> bool:
        """Whether values and files are those of an undisturbed run."""
        finished, digests = self.finished[stage], self.digests()
        same = all(
            digests.get(name) == digest for name, digest in finished.digests.items() if name in digests
        )
        own = STAGES[stage].folder
        names = [name for name in finished.digests if name.startswith(own) or own == "."]
        return (
            same
            and all(name in digests for name in names)
            and (stage == "pipeline" or self.values(log) == dict(finished.values))
        )

    @contextmanager
    def _disk(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", self.root], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", self.root], check=True)


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; 99 if it hangs, and is killed."""
    try:
        return process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return 99
