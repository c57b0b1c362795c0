"""Shards from end to end on Ray Data: nothing lost, nothing half-written, the same bytes after a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wfdb_writer import ecg_mv, write_csn, write_record

from supreme import config, manifest, records, storage
from supreme import signal as ecg_signal
from supreme.config import ConfigError, Recipe
from supreme.ecg import LEADS, order_leads
from supreme.runtime import session
from supreme.settings.data import Source
from supreme.shards import build, plan
from supreme.shards.read import ShardDataset, signals_uv
from supreme.shards.result import SHARDS
from supreme.shards.schema import SCHEMA

pytestmark = pytest.mark.ray

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SIMULATED = Source(kind="simulated", records=300)
DX = ["Age: 60", "Sex: Male", "Dx: 426783006"]


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        with session.ray_session():
            yield


def _recipe(root: Path, **shards: object) -> Recipe:
    section = {"records_per_shard": 10, "row_group_size": 4} | shards
    return config.parse({"name": "t", "root": str(root), "seed": 3, "shards": section})


def _folder(recipe: Recipe, source: Source) -> Path:
    return Path(plan.folder_of(recipe, source))


def _hashes(made: manifest.Manifest) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in made.files.items()}


def _rejected(folder: Path) -> dict[str, str]:
    tables = [pq.read_table(file) for file in sorted((folder / "rejected").glob("*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return {row["record_id"].rpartition("/")[2]: row["reason"] for row in rows}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Recipe, manifest.Manifest]:
    recipe = _recipe(tmp_path_factory.mktemp("whole"))
    return recipe, build.build(recipe, SIMULATED)


def test_shards_hold_every_record_once_as_its_source_has_it(uninterrupted):
    recipe, made = uninterrupted
    shards = ShardDataset.open(plan.folder_of(recipe, SIMULATED))
    source = records.open_source(SIMULATED, recipe.seed, recipe.shards.rate_hz)
    table = shards.table()
    entries = {entry.record_id: entry for entry in source.index()}
    assert sorted(table["record_id"].to_pylist()) == sorted(entries)
    assert made.result.records == 300
    assert made.result.patients == len(set(table["patient_id"].to_pylist()))
    assert made.result.records_train == len(shards.table(["split"], "train")) > 200
    split_of_patient = set(zip(table["patient_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert len(split_of_patient) == made.result.patients, "no patient is in two splits"
    for batch in shards.batches("validation", 5):
        signal_uv = signals_uv(batch, shards.samples)
        for row, drawn_uv in zip(batch.to_pylist(), signal_uv, strict=True):
            truth = source.read(entries[row["record_id"]])
            np.testing.assert_allclose(drawn_uv, truth.signal_mv * 1000, atol=0.51)
            assert (row["report"], tuple(row["codes"])) == (truth.entry.report, truth.entry.codes)
            assert row["codes"]


def test_files_are_plain_and_described(uninterrupted):
    recipe, made = uninterrupted
    folder = _folder(recipe, SIMULATED)
    for name, entry in made.files.items():
        assert entry.sha256 == storage.sha256((folder / name).read_bytes())
        shard = pq.ParquetFile(folder / name)
        assert shard.schema_arrow.equals(SCHEMA)
        sizes = [shard.metadata.row_group(i).num_rows for i in range(shard.num_row_groups)]
        assert sum(sizes) == entry.rows <= 10
        assert max(sizes) <= 4
        signals = shard.metadata.row_group(0).column(SCHEMA.names.index("signal"))
        assert (signals.compression, signals.statistics) == ("LZ4", None)
        assert not any("DICTIONARY" in encoding for encoding in signals.encodings)
    assert not list(folder.rglob("*.partial"))


def test_a_finished_stage_is_skipped_and_another_configuration_refused(uninterrupted):
    recipe, made = uninterrupted
    stamps = {path: path.stat().st_mtime_ns for path in _folder(recipe, SIMULATED).rglob("*")}
    assert build.build(recipe, SIMULATED) == made
    assert {path: path.stat().st_mtime_ns for path in _folder(recipe, SIMULATED).rglob("*")} == stamps
    other = recipe.model_copy(update={"shards": recipe.shards.model_copy(update={"rate_hz": 50})})
    with pytest.raises(ConfigError, match=r"shards\.rate_hz: 100 -> 50"):
        build.build(other, SIMULATED)
    assert build.build(recipe, SIMULATED) == made


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(tmp_path, uninterrupted):
    recipe = _recipe(tmp_path)
    file = tmp_path / "r.toml"
    file.write_text(
        f'name = "t"\nroot = "{tmp_path}"\nseed = 3\n[[sources]]\nkind = "simulated"\nrecords = 300\n'
        "[shards]\nrecords_per_shard = 10\nrow_group_size = 4\n"
    )
    folder = _folder(recipe, SIMULATED)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen([sys.executable, JOBS / "shard.py", "--config", file], env=environment)
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("parts/*.json")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(list(folder.glob("parts/*.json"))) < len(uninterrupted[1].files)
    assert manifest.read(str(folder), SHARDS) is None, "a killed stage is not taken for a finished one"
    resumed = build.build(recipe, SIMULATED)
    assert _hashes(resumed) == _hashes(uninterrupted[1])
    assert resumed.digest() == uninterrupted[1].digest()
    nowhere = environment | {"RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, JOBS / "shard.py", "--config", file], env=nowhere, capture_output=True
    )
    assert done.returncode == 0, "nothing to do starts no Ray"


def _at_work() -> list[int]:
    """Worker processes of this session that write a part."""
    family = [os.getpid()]
    for parent in family:
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                family += map(int, listing.read_text().split())
    found = []
    for process in family:
        with suppress(OSError):
            found += [process] if b"ray::Map(write)" in Path(f"/proc/{process}/cmdline").read_bytes() else []
    return found


def test_a_worker_that_is_killed_loses_and_doubles_nothing(tmp_path, uninterrupted):
    recipe = _recipe(tmp_path)
    parts = _folder(recipe, SIMULATED) / "parts"
    with ThreadPoolExecutor(1) as thread:
        building = thread.submit(build.build, recipe, SIMULATED)
        killed = 0
        while not building.done() and killed < 2:
            if len(list(parts.glob("*.json"))) > 3 * killed and (workers := _at_work()):
                os.kill(workers[0], signal.SIGKILL)
                killed += 1
            time.sleep(0.01)
        assert _hashes(building.result()) == _hashes(uninterrupted[1])
    assert killed == 2


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 2 MiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here; the unit tests of a part have a quota instead")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_stage_and_with_room_the_same_command_goes_on(small_disk, uninterrupted):
    recipe = _recipe(small_disk)
    with pytest.raises(
        storage.Unavailable, match=r"No space left.*make room, then run the same command again"
    ):
        build.build(recipe, SIMULATED)
    folder = _folder(recipe, SIMULATED)
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("parts/*.json")}
    assert finished
    assert manifest.read(str(folder), SHARDS) is None
    assert not list(folder.rglob("rejected")), "a full disk is not the fault of a record"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert _hashes(build.build(recipe, SIMULATED)) == _hashes(uninterrupted[1])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def _edit(old: str, new: str, times: int = -1) -> Callable[[Path], None]:
    def change(header: Path) -> None:
        text = header.read_text()
        assert old in text
        header.write_text(text.replace(old, new, times))

    return change


def _flip_a_bit(header: Path) -> None:
    content = bytearray(header.with_suffix(".dat").read_bytes())
    content[50_000] ^= 1
    header.with_suffix(".dat").write_bytes(content)


def _truncate(header: Path) -> None:
    data = header.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:1000])


def _invalid_sample(header: Path) -> None:
    content = np.fromfile(header.with_suffix(".dat"), "<i2")
    content[123] = -32768
    content.tofile(header.with_suffix(".dat"))
    # The header must not call it damaged: zeros stand for no first value and no checksum.
    header.write_text(re.sub(r" 16 0 -?\d+ -?\d+ ", " 16 0 0 0 ", header.read_text()))


def _rewrite(signal_mv: np.ndarray, leads: tuple[str, ...] = LEADS) -> Callable[[Path], None]:
    return lambda header: (
        write_record(header.parent, header.stem, signal_mv, leads=leads, comments=DX) and None
    )


BREAKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "JS00001": ("truncated", _truncate),
    "JS00002": ("empty_file", lambda header: header.with_suffix(".dat").write_bytes(b"") and None),
    "JS00003": ("empty_file", lambda header: header.write_bytes(b"") and None),
    "JS00004": ("unsafe_header", _edit("JS00004.dat", "../../../../../../etc/passwd")),
    "JS00005": ("missing_leads", _rewrite(ecg_mv()[[0, 1, *range(6, 12)]], ("I", "II", *LEADS[6:]))),
    "JS00006": ("nan", _invalid_sample),
    "JS00007": ("flat_leads", _rewrite(np.vstack([ecg_mv()[:2], np.zeros((10, 5000), np.float32)]))),
    "JS00008": ("unknown_rate", _edit(" 12 500 ", " 12 0 ")),
    "JS00009": ("unknown_lead", _rewrite(ecg_mv(), ("MLI", *LEADS[1:]))),
    "JS00010": ("missing_file", lambda header: header.with_suffix(".dat").unlink()),
    "JS00011": ("too_short", _rewrite(ecg_mv(1))),
    "JS00012": ("unreadable", lambda header: header.write_bytes(os.urandom(500)) and None),
    "JS00013": ("duplicate_lead", _edit(" I\n", " II\n")),
    "JS00014": ("absurd_amplitude", _edit("1000.0(0)/mV", "1000.0(0)/V")),
    "JS00015": ("unlabelled", _edit("Dx", "Dy")),
    "JS00016": ("unsafe_header", _edit(" 12 500 5000", f" 12 500 {10**12}")),
    "JS00017": ("mixed_rates", _edit("JS00017.dat 16 ", "JS00017.dat 16x2 ", times=1)),
    "JS00018": ("unknown_gain", _edit("1000.0(0)/mV", "0(0)/mV")),
    "JS00019": ("checksum", _flip_a_bit),
    "JS00020": ("absurd_amplitude", _edit("1000.0(0)/mV", "1000000.0(0)/mV")),
}
SOUND = ("JS00021", "JS00022", "JS00023")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Source:
    """A CSN folder whose records are broken, each in its own way, but one short, one swapped, one sound."""
    folder = tmp_path_factory.mktemp("damaged") / "csn"
    headers = {header.stem: header for header in write_csn(folder, len(BREAKS) + len(SOUND))}
    for name, (_, damage) in BREAKS.items():
        damage(headers[name])
    _rewrite(ecg_mv(5))(headers[SOUND[0]])
    one, two, three, right, left, *others = ecg_mv()
    _rewrite(np.stack([-one, three, two, left, right, *others]))(headers[SOUND[1]])
    return Source(kind="csn", uri=str(folder))


def test_every_broken_record_is_a_row_with_its_reason_and_the_rest_goes_on(tmp_path, damaged):
    recipe = _recipe(tmp_path, max_rejected_fraction=0.9)
    made = build.build(recipe, damaged)
    folder = _folder(recipe, damaged)
    assert _rejected(folder) == {name: reason for name, (reason, _) in BREAKS.items()}
    table = ShardDataset.open(str(folder)).table()
    kept = {row["record_id"].rpartition("/")[2]: row for row in table.to_pylist()}
    assert {name: row["quality"] for name, row in kept.items()} == dict(
        zip(SOUND, (["short"], ["arm_leads_swapped"], []), strict=True)
    )
    assert kept[SOUND[0]]["n_valid"] == 500
    assert (made.result.records, made.result.rejected) == (3, len(BREAKS))
    assert made.result.rejected_by_reason == Counter(reason for reason, _ in BREAKS.values())
    rows = pa.concat_tables([pq.read_table(file) for file in folder.glob("rejected/*.parquet")]).to_pylist()
    assert all(row["source_uri"] and row["detail"] for row in rows)
    assert not any("root:" in row["detail"] for row in rows), "nothing of the foreign file is shown"


def test_too_many_refused_fail_the_stage_after_writing_and_can_be_accepted(tmp_path, damaged):
    strict = _recipe(tmp_path)
    with pytest.raises(plan.TooManyRejected, match=r"20 of 23.*empty_file 2.*max_rejected_fraction"):
        build.build(strict, damaged)
    folder = _folder(strict, damaged)
    assert manifest.read(str(folder), SHARDS) is None
    assert len(_rejected(folder)) == len(BREAKS)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    made = build.build(_recipe(tmp_path, max_rejected_fraction=0.9), damaged)
    assert made.result.records == len(SOUND)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == stamps


@pytest.mark.parametrize(
    ("table", "problem"),
    [("name,report\nA1,x\n", "column"), ("id,report\nA1,x\nA2,y\nA1,z\n", "A1")],
    ids=["a missing column", "an id twice"],
)
def test_a_broken_table_is_said_before_any_work(tmp_path, table, problem):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "table.csv").write_text(table)
    with pytest.raises(ConfigError, match=problem):
        build.build(_recipe(tmp_path), Source(kind="wfdb_folder", uri=str(tmp_path / "own")))
    assert not (tmp_path / "t").exists()


def test_limb_leads_are_derived_when_asked_and_said_so(tmp_path):
    (header,) = write_csn(tmp_path / "csn", 1)
    whole = ecg_mv(seed=9)
    _rewrite(whole[[0, 1, *range(6, 12)]], ("I", "II", *LEADS[6:]))(header)
    recipe, source = (
        _recipe(tmp_path, rate_hz=500, derive_limb_leads=True),
        Source(kind="csn", uri=str(tmp_path / "csn")),
    )
    build.build(recipe, source)
    shards = ShardDataset.open(plan.folder_of(recipe, source))
    (batch,) = shards.batches()
    assert batch["quality"].to_pylist() == [["derived_limb_leads"]]
    np.testing.assert_allclose(signals_uv(batch, 5000)[0], whole * 1000, atol=2)


def test_shards_go_to_object_storage_and_are_read_from_there(tmp_path, uninterrupted):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        urlopen(Request(f"http://{host}:{port}/bucket", method="PUT")).close()
        root = f"s3://bucket/runs?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        recipe = uninterrupted[0].model_copy(update={"root": root})
        made = build.build(recipe, SIMULATED)
        assert _hashes(made) == _hashes(uninterrupted[1])
        assert build.build(recipe, SIMULATED) == made
        assert len(ShardDataset.open(plan.folder_of(recipe, SIMULATED)).table(["record_id"])) == 300
    finally:
        server.stop()


def test_missing_and_empty_folders_are_named_and_leave_nothing_behind(tmp_path):
    recipe = _recipe(tmp_path)
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        build.build(recipe, Source(kind="ptbxl", uri=str(tmp_path / "nowhere")))
    (tmp_path / "empty" / "WFDBRecords").mkdir(parents=True)
    with pytest.raises(ConfigError, match="empty holds no records"):
        build.build(recipe, Source(kind="csn", uri=str(tmp_path / "empty")))
    assert not (tmp_path / "t").exists()


def test_the_job_plans_without_doing(tmp_path):
    write_csn(tmp_path / "real" / "csn", 2, seconds=0.1)
    command = [sys.executable, JOBS / "shard.py", "--config", tmp_path / "r.toml", "--dry-run"]
    lines = [f'root = "{tmp_path}/runs"', f'real = "{tmp_path}/real"', "[[sources]]", 'kind = "simulated"']
    (tmp_path / "r.toml").write_text("\n".join([*lines, "records = 5000"]))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout.splitlines()[-1])
    names = [part["dataset"] for part in plan["sources"]]
    assert (plan["records"], names) == (5002, ["simulated", "csn", "csn (evaluation)"])
    assert plan["bytes"] > 0
    assert not (tmp_path / "runs").exists()


@pytest.mark.real
def test_real_records_keep_their_millivolts(tmp_path, realdata):
    source = Source(kind="ptbxl", uri=str(realdata / "ptb-xl"), records=20)
    recipe = _recipe(tmp_path)
    made = build.build(recipe, source)
    assert (made.result.records, made.result.rejected) == (20, 0)
    raw = records.open_source(source, 0, 100)
    entries = {entry.record_id: entry for entry in raw.index()}
    for batch in ShardDataset.open(plan.folder_of(recipe, source)).batches():
        for row, signal_uv in zip(batch.to_pylist(), signals_uv(batch, 1000), strict=True):
            record = raw.read(entries[row["record_id"]])
            ordered, _ = order_leads(record.signal_mv, record.leads)
            expected, _ = ecg_signal.prepare(ordered, 500, 100, 1000)
            np.testing.assert_allclose(signal_uv, expected * 1000, atol=0.51)
            assert row["report"] == entries[row["record_id"]].report
            assert abs(np.ptp(signal_uv, axis=1) / 1000 - np.ptp(ordered, axis=1)).max() < 1.5
