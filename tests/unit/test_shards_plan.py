"""What is built is kept: a source that grows, changes or shrinks, and a build that is killed anywhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_runs import snapshot
from wfdb_writer import ecg_mv

from supreme import config, manifest, records, storage
from supreme.config import ConfigError, Recipe
from supreme.ecg import LEADS, BadRecord
from supreme.preparation import PREPARATION_VERSION
from supreme.records import Entry, Record
from supreme.settings.data import Source
from supreme.shards import estimate, part, plan
from supreme.shards.result import SHARDS
from supreme.shards.writer import _Hashed

pytestmark = pytest.mark.unit

GROWING = Source(kind="csn", uri="growing")
ECG_MV = ecg_mv(2, 100)


@dataclass
class Growing:
    """A source whose index a test changes; a record with an odd number of thousands cannot be used."""

    entries: list[Entry]
    dataset: str = "csn"

    def index(self) -> list[Entry]:
        return sorted(self.entries, key=lambda entry: entry.record_id)

    def read(self, entry: Entry) -> Record:
        number = int(entry.record_id.rpartition("/")[2])
        if number // 1000 % 2:
            raise BadRecord("nan", "planted")
        return Record(entry, ECG_MV * np.float32(1 + number % 7), LEADS, 100.0)


def _entries(*numbers: int) -> list[Entry]:
    return [Entry(f"csn/{number:05d}", "csn", f"csn/p{number}", report=f"no. {number}") for number in numbers]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Growing:
    growing = Growing(_entries(*range(0, 60, 2)))
    monkeypatch.setattr(records, "open_source", lambda *_: growing)
    return growing


def _recipe(root: Path, **shards: object) -> Recipe:
    section = {"records_per_shard": 8, "row_group_size": 3, "duration_s": 2, "max_rejected_fraction": 0.9}
    return config.parse({"name": "t", "root": str(root), "shards": section | shards})


def build(recipe: Recipe, *, new: bool = False) -> manifest.Manifest:
    """As `build.build`, one part after the other."""
    planned = plan.survey(recipe, GROWING, new=new)
    if planned.finished:
        return planned.finished
    plan.begin(planned)
    for name, entries in planned.todo.items():
        part.write({"part": name, "entries": part.dump(entries)}, planned.job)
    return plan.publish(planned)


def _ids(made: manifest.Manifest, folder: Path) -> list[str]:
    """Record ids of all shards and refused rows that the manifest describes, files checked."""
    found = []
    for name, entry in made.files.items():
        assert storage.sha256((folder / name).read_bytes()) == entry.sha256, name
        found += pq.read_table(folder / name, columns=["record_id"])["record_id"].to_pylist()
    return sorted(found)


def _folder(recipe: Recipe) -> Path:
    return Path(plan.folder_of(recipe, GROWING))


def test_a_source_that_grows_keeps_the_files_it_has(tmp_path, source):
    recipe = _recipe(tmp_path)
    first, folder = build(recipe), _folder(recipe)
    before = snapshot(folder)
    source.entries += _entries(*range(1, 60, 4), 1001)  # in the middle of the order, and one refused
    extended = build(recipe)
    after = snapshot(folder)
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: kept for name, kept in before.items() if name != "manifest.json"
    }
    assert first.files.items() < extended.files.items()
    assert _ids(extended, folder) == [entry.record_id for entry in source.index()]
    assert (extended.result.records, extended.result.rejected) == (45, 1)
    assert extended.result.patients == 45
    stamps = snapshot(folder)
    assert build(recipe) == extended
    assert snapshot(folder) == stamps, "a finished source is not touched"


def test_from_scratch_the_bytes_follow_from_the_entries(tmp_path, source):
    whole = build(_recipe(tmp_path / "a"))
    source.entries.reverse()
    assert build(_recipe(tmp_path / "b")).files == whole.files
    assert build(_recipe(tmp_path / "a"), new=True).files == whole.files


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=12), min_size=2, max_size=4))
def test_however_a_source_grows_every_record_is_there_once(tmp_path_factory, source, batches):
    recipe = _recipe(tmp_path_factory.mktemp("grows"), records_per_shard=3)
    numbers: set[int] = set()
    described: dict[str, manifest.FileEntry] = {}
    for batch in batches:
        numbers |= batch
        source.entries = _entries(*numbers)
        made = build(recipe)
        assert described.items() <= made.files.items()
        assert _ids(made, _folder(recipe)) == [entry.record_id for entry in source.index()]
        described = made.files


CHANGES: dict[str, tuple[Callable[[list[Entry]], list[Entry]], str]] = {
    "gone": (
        lambda entries: entries[3:],
        r"3 have vanished from the source \(csn/00000, csn/00002, ",
    ),
    "report": (
        lambda entries: [replace(entries[0], report="another"), *entries[1:]],
        r"1 have changed in its index \(csn/00000\)",
    ),
    "both": (
        lambda entries: [replace(entry, age=50.0) for entry in entries[1:]],
        r"1 have vanished .* and 29 have changed in its index \(.*, \.\.\.\).*--new",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_published_and_then_changes_is_refused(tmp_path, source, change):
    recipe = _recipe(tmp_path)
    build(recipe)
    before, (edit, message) = snapshot(tmp_path), CHANGES[change]
    source.entries = [*edit(source.index()), *_entries(999)]
    with pytest.raises(ConfigError, match=message):
        build(recipe)
    assert snapshot(tmp_path) == before
    made = build(recipe, new=True)
    assert _ids(made, _folder(recipe)) == [entry.record_id for entry in source.index()]


def test_what_is_not_published_yet_is_made_again_where_the_index_has_changed(tmp_path, source):
    recipe, folder = _recipe(tmp_path), _folder(_recipe(tmp_path))
    build(recipe)
    (folder / "manifest.json").unlink()
    stamps = snapshot(folder)
    old = {number: part.read(str(folder), f"train-0000{number}").entries for number in range(3)}
    kept = [name for name in stamps if name.startswith("parts/") and not name.startswith("parts/train-0000")]
    assert kept
    first, *others = source.index()
    gone = old[1].keys() | old[2].keys()
    source.entries = [replace(first, report="another"), *(e for e in others if e.record_id not in gone)]
    made = build(recipe)
    assert _ids(made, folder) == [entry.record_id for entry in source.index()]
    assert all(snapshot(folder)[name] == stamps[name] for name in kept)
    assert pq.read_table(folder / "train-00000.parquet")["report"][0].as_py() == "another"
    left = {file.stem for file in folder.glob("parts/*.json")}
    assert left == {Path(name).stem for name in made.files}, "no part of the old index could come back"


def test_a_shard_that_is_lost_or_cut_off_is_made_again_with_the_same_bytes(tmp_path, source):
    recipe = _recipe(tmp_path)
    first = build(recipe)
    (_folder(recipe) / "train-00001.parquet").unlink()
    os.truncate(_folder(recipe) / "train-00000.parquet", 100)
    source.entries += _entries(1, 3)
    made = build(recipe)
    assert first.files.items() < made.files.items()
    assert _ids(made, _folder(recipe)) == [entry.record_id for entry in source.index()]


def test_an_id_that_is_there_twice_is_refused_before_any_work(tmp_path, source):
    source.entries += _entries(4, 6)
    with pytest.raises(ConfigError, match=r"2 record ids more than once \(csn/00004, csn/00006\)"):
        build(_recipe(tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_plan_says_what_is_done_and_what_the_rest_takes(tmp_path, source):
    recipe = _recipe(tmp_path, rate_hz=500, duration_s=2)
    raw_bytes = 12 * 1000 * 2
    fresh = plan.survey(recipe, GROWING).summary()
    assert (fresh.finished, fresh.records, fresh.records_to_do) == (False, 30, 30)
    assert 0.3 * 30 * raw_bytes < fresh.bytes < 0.5 * 30 * raw_bytes
    assert not list(tmp_path.iterdir()), "a plan writes nothing"
    made = build(recipe)
    source.entries += _entries(1, 3)
    grown = plan.survey(recipe, GROWING).summary()
    assert (grown.finished, grown.records, grown.records_to_do) == (False, 32, 2)
    measured = sum(entry.bytes for entry in made.files.values()) / 30
    assert grown.bytes == round(2 * measured)
    build(recipe)
    done = plan.survey(recipe, GROWING).summary()
    assert (done.finished, done.records_to_do, done.bytes, done.seconds) == (True, 0, 0, 0)


def test_a_plan_that_no_disk_holds_is_refused(tmp_path, source, caplog):
    summary = plan.survey(_recipe(tmp_path), GROWING).summary()
    estimate.check_room(str(tmp_path / "not" / "yet"), [summary])
    disk = shutil.disk_usage(tmp_path)
    with pytest.raises(ConfigError, match=r"3,400,[0,]+ bytes.*lower shards\.rate_hz"):
        estimate.check_room(str(tmp_path), [replace(summary, bytes=34 * 10**23)])
    assert not caplog.records
    with caplog.at_level("WARNING"):
        estimate.check_room(str(tmp_path), [replace(summary, bytes=(disk.free + disk.total) // 2)])
    assert "make room" in caplog.text
    estimate.check_room("s3://bucket/root", [replace(summary, bytes=10**15)])


def test_files_of_others_outlive_a_build_and_its_leftovers_do_not(tmp_path, source):
    recipe = _recipe(tmp_path)
    build(recipe)
    folder = _folder(recipe)
    others = ("movie.mp4.partial", "train-notes.parquet", "train-00001.parquet.old", "parts/notes.partial")
    leftovers = ("train-00099.parquet", "rejected/test-00007.parquet.0123abcd.partial")
    (folder / "rejected").mkdir(exist_ok=True)
    for name in (*others, *leftovers):
        (folder / name).write_bytes(b"mine")
    source.entries += _entries(1, 3)
    build(recipe)
    assert {name: (folder / name).exists() for name in (*others, *leftovers)} == (
        dict.fromkeys(others, True) | dict.fromkeys(leftovers, False)
    )


def test_two_builds_at_a_time_do_not_publish_each_others_parts(tmp_path, source):
    planned = plan.survey(_recipe(tmp_path), GROWING)
    plan.begin(planned)
    source.entries = _entries(*range(40))
    build(_recipe(tmp_path))
    with pytest.raises(RuntimeError, match=r"another build has written train-00000"):
        plan.publish(planned)


def test_too_many_refused_do_not_touch_what_is_published(tmp_path, source):
    first = build(_recipe(tmp_path, max_rejected_fraction=0))
    source.entries += _entries(1001, 1003)
    with pytest.raises(plan.TooManyRejected, match=r"2 of 32 records were refused \(nan 2\)"):
        build(_recipe(tmp_path, max_rejected_fraction=0.05))
    folder = str(_folder(_recipe(tmp_path)))
    assert manifest.read(folder, SHARDS) == first
    assert build(_recipe(tmp_path, max_rejected_fraction=0.5)).result.rejected == 2


class Killer:
    """Ends this process at the n-th moment at which a killed build would leave something else behind."""

    def __init__(self, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = moment
        for owner, name in ((os, "replace"), (_Hashed, "write"), (storage, "delete_file")):
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, function: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object) -> object:
            self._moment()
            result = function(*arguments)
            self._moment()
            return result

        return watched

    def _moment(self) -> None:
        if not self.left:
            os._exit(9)
        self.left -= 1


def _killed(recipe: Recipe, moment: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Build in a child process that is killed at a moment."""
    child = os.fork()
    if not child:
        try:
            Killer(moment, monkeypatch)
            build(recipe)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("extending", [False, True], ids=["from scratch", "extending"])
def test_killed_at_any_moment_a_build_is_finished_by_the_next(tmp_path, source, monkeypatch, extending):
    """Before or after a write, rename or deletion: what is published is whole, nothing is lost or doubled."""
    base, added = _entries(*range(0, 20, 2), 1000), _entries(*range(1, 16, 4), 1001)

    def prepare(root: Path) -> manifest.Manifest | None:
        source.entries = base
        first = build(_recipe(root)) if extending else None
        source.entries = base + added
        return first

    prepare(tmp_path / "whole")
    with monkeypatch.context() as watched:
        counted = Killer(10**6, watched)
        whole = build(_recipe(tmp_path / "whole"))
    moments = 10**6 - counted.left
    assert moments > 50
    expected = [entry.record_id for entry in source.index()]
    for moment in {*range(0, moments, moments // 5), *range(moments - 3, moments)}:
        recipe = _recipe(tmp_path / str(moment))
        folder, first = _folder(recipe), prepare(tmp_path / str(moment))
        assert _killed(recipe, moment, monkeypatch)
        seen = manifest.read(str(folder), SHARDS)
        if seen:
            assert seen.files in ((first or whole).files, whole.files)
            _ids(seen, folder)
        made = build(recipe)
        assert made.files == whole.files
        assert _ids(made, folder) == expected
        left = {str(path.relative_to(folder)) for path in folder.rglob("*") if "par" in path.suffix}
        assert left == set(made.files), "what the killed build left behind is gone"


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("earlier", [None, PREPARATION_VERSION])
def test_shards_of_another_preparation_are_not_mixed_with_new_ones(
    tmp_path, source, monkeypatch, growing, earlier
):
    recipe = _recipe(tmp_path)
    build(recipe)
    folder = _folder(recipe)
    if earlier is None:  # made before preparations had a version
        for file in (folder / "stage.json", folder / "manifest.json"):
            request = json.loads(file.read_text())
            del request["config"]["preparation"]
            file.write_text(json.dumps(request))
    else:
        monkeypatch.setattr(plan, "PREPARATION_VERSION", PREPARATION_VERSION + 1)
    before = snapshot(folder)
    if growing:
        source.entries += _entries(1, 3)
    with pytest.raises(ConfigError, match=r"made by preparation \d, this is \d.*jobs/shard.py --new"):
        plan.survey(recipe, GROWING)
    assert snapshot(folder) == before
    made = build(recipe, new=True)
    assert made.config["preparation"] == plan.PREPARATION_VERSION
    assert build(recipe) == made


def test_shards_of_another_simulator_are_refused_and_other_sources_do_not_have_one(
    tmp_path, source, monkeypatch
):
    simulated, recipe = Source(kind="simulated", records=4), _recipe(tmp_path)
    planned = plan.survey(recipe, simulated)
    plan.begin(planned)
    monkeypatch.setattr(plan, "SIMULATOR_VERSION", plan.SIMULATOR_VERSION + 1)
    with pytest.raises(ConfigError, match=r"made by simulator \d, this is \d.*jobs/shard.py --new"):
        plan.survey(recipe, simulated)
    assert "simulator" not in plan.survey(recipe, Source(kind="csn", uri="growing")).request.config
