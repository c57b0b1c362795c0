from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import promoted_bundle
import pyarrow.parquet as pq
import pytest
import tiny_bundle
from wfdb_writer import write_record

from jobs import predict as job
from supreme import config, ecg, prediction, signal
from supreme.inference.folder_reader import FolderReader
from supreme.registry import versions
from supreme.runtime.cli import Options
from supreme.runtime.session import ray_session
from supreme.settings.evaluation import Predict

pytestmark = pytest.mark.ray

QUERIES = ("Atrial fibrillation?", "old inferior infarct?", "left_bundle_branch_block")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy good records of several kinds at any depth, and six that cannot be scored."""
    folder = tmp_path_factory.mktemp("records")
    ecgs = tiny_bundle.ecgs(67, 1000)
    for number, one in enumerate(ecgs):
        write_record(folder / "plain", f"r{number:03d}", one, 250, ecg.LEADS)
    mimic_order = ecgs[0][[ecg.LEADS.index(lead) for lead in ecg.MIMIC_LEADS]]
    write_record(folder / "deep" / "er", "mimic", mimic_order, 250, ecg.MIMIC_LEADS)
    write_record(folder / "deep", "long", tiny_bundle.ecgs(1, 6000, seed=5)[0], 500, ecg.LEADS)
    flat = ecgs[1].copy()
    flat[6] = 0
    write_record(folder, "flat_lead", flat, 250, ecg.LEADS)
    bad = folder / "bad"
    write_record(bad, "eight_leads", ecgs[0][:8], 250, ecg.LEADS[:8])
    write_record(bad, "short", ecgs[0][:, :300], 250, ecg.LEADS)
    write_record(bad, "all_flat", np.zeros((12, 1000)), 250, ecg.LEADS)
    write_record(bad, "empty", ecgs[0], 250, ecg.LEADS)
    (bad / "empty.dat").write_bytes(b"")
    write_record(bad, "outside", ecgs[0], 250, ecg.LEADS)
    header = bad / "outside.hea"
    header.write_text(header.read_text().replace("outside.dat", "../plain/r000.dat"))
    (bad / "nothing.hea").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root whose registry has a champion."""
    root = str(tmp_path_factory.mktemp("root"))
    promoted_bundle.write(root, "supreme-ecg")
    return root


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session():
        yield


@pytest.fixture(scope="module")
def result(session: None, records: Path, root: str) -> dict[str, object]:
    settings = Predict(uri=str(records), queries=QUERIES, output=f"{root}/out/scores.parquet")
    return job.run(config.Recipe(root=root, predict=settings), Options())


def test_every_record_is_scored_or_refused(result: dict[str, object], records: Path, root: str) -> None:
    counts = {key: result[key] for key in ("records", "scored", "rejected")}
    assert counts == {"records": 76, "scored": 70, "rejected": 6}
    assert result["model_uri"] == "models:/supreme-ecg/1", "the version, not the alias that may move"
    scores = pq.read_table(str(result["output"])).to_pylist()
    ids = sorted({path.relative_to(records).with_suffix("").as_posix() for path in records.rglob("*.hea")})
    good = [name for name in ids if not name.startswith("bad/")]
    assert [(row["record_id"], row["query"]) for row in scores] == [(r, q) for r in good for q in QUERIES]
    assert {row["query"]: row["seen"] for row in scores} == dict(
        zip(QUERIES, (True, False, True), strict=True)
    )
    assert {row["model_uri"] for row in scores} == {"models:/supreme-ecg/1"}
    flagged = {row["record_id"] for row in scores if "flat:V1" in row["quality"]}
    assert flagged == {"flat_lead"}
    files = {path.name for path in Path(root, "out").iterdir()}
    assert files == {"scores.parquet", "scores.rejected.parquet"}


def test_scores_are_those_of_the_model(result: dict[str, object], root: str) -> None:
    scores = pq.read_table(str(result["output"])).to_pylist()
    found = {(row["record_id"], row["query"]): row["score"] for row in scores}
    model = versions.load(f"{root}/bundle")
    ecgs = tiny_bundle.ecgs(67, 1000)
    expected = model.score(ecgs, 250, QUERIES)
    by_file = np.array([[found[f"plain/r{n:03d}", query] for query in QUERIES] for n in range(67)])
    np.testing.assert_allclose(by_file, expected, atol=2e-3)
    assert np.ptp(expected, axis=0).min() > 0.05, "records must differ for this to mean anything"
    # Leads are mapped by name: the same heart in MIMIC's order gets the same answers.
    for query in QUERIES:
        assert found["deep/er/mimic", query] == pytest.approx(found["plain/r000", query], abs=1e-6)
    long = model.score(tiny_bundle.ecgs(1, 6000, seed=5), 500, QUERIES)[0]
    np.testing.assert_allclose([found["deep/long", query] for query in QUERIES], long, atol=2e-3)
    first = np.stack([signal.prepare(ecgs[0], 250, 100, 400)[0]])
    np.testing.assert_allclose(by_file[0], model.score(first, 100, QUERIES)[0], atol=2e-3)


def test_what_cannot_be_scored_is_listed_with_the_reason(result: dict[str, object]) -> None:
    rejected = pq.read_table(str(result["rejected_output"])).to_pylist()
    reasons = {row["record_id"].removeprefix("bad/"): row["reason"] for row in rejected}
    assert reasons == {
        "all_flat": "flat_leads",
        "eight_leads": "missing_leads",
        "empty": "empty_file",
        "nothing": "empty_file",
        "outside": "unsafe_header",
        "short": "too_short",
    }
    assert all(row["source_uri"].endswith(row["record_id"]) for row in rejected)


def test_limb_leads_are_derived_when_asked(session: None, tmp_path: Path, root: str) -> None:
    one = tiny_bundle.ecgs(1, 1000)[0]
    complete, _ = ecg.order_leads(one[[0, 1, *range(6, 12)]], _EIGHT, derive_limb_leads=True)
    write_record(tmp_path / "in", "eight", complete[[0, 1, *range(6, 12)]], 250, _EIGHT)
    write_record(tmp_path / "in", "twelve", complete, 250, ecg.LEADS)
    settings = Predict(uri=str(tmp_path / "in"), queries=QUERIES, output=str(tmp_path / "out.parquet"))
    result = prediction.predict(settings, f"{root}/bundle", None, derive_limb_leads=True)
    assert result.rejected == 0
    scores = pq.read_table(str(tmp_path / "out.parquet"))["score"].to_numpy().reshape(2, -1)
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)


_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def test_names_and_gains_of_the_user_replace_those_of_the_headers(
    session: None, tmp_path: Path, root: str
) -> None:
    """As in a source: the same ECG under odd channel names, with gains that are five times too small."""
    signal_mv = tiny_bundle.ecgs(1, 1000)[0]
    write_record(tmp_path / "plain", "r", signal_mv, 250, ecg.LEADS)
    turned = signal_mv * np.where(np.arange(12) == 3, -1, 1)[:, None]
    header = write_record(tmp_path / "odd", "r", turned, 250, ["CH1", *ecg.LEADS[1:3], "CH4", *ecg.LEADS[4:]])
    header.write_text(header.read_text().replace("1000.0(0)/mV", "200.0(0)/mV"))
    known = {"leads": {"CH1": "I", "CH4": "-aVR"}, "gain_per_mv": 1000.0}
    scores = {}
    for folder, more in (("plain", {}), ("odd", known), ("odd", {})):
        output = tmp_path / f"{folder}{len(more)}.parquet"
        settings = Predict(uri=str(tmp_path / folder), queries=QUERIES, output=str(output), **more)
        assert prediction.predict(settings, f"{root}/bundle", None).rejected == (folder == "odd" and not more)
        scores[output.name] = pq.read_table(str(output))["score"].to_numpy()
    np.testing.assert_array_equal(scores["odd2.parquet"], scores["plain0.parquet"])


def test_a_failure_leaves_nothing_that_looks_finished(session: None, records: Path, tmp_path: Path) -> None:
    settings = Predict(uri=str(records), queries=QUERIES, output=str(tmp_path / "out.parquet"))
    (tmp_path / "bundle").mkdir()
    with pytest.raises(Exception, match="is missing"):
        prediction.predict(settings, str(tmp_path / "bundle"), None)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_plan_counts_and_writes_nothing(records: Path, tmp_path: Path) -> None:
    settings = Predict(uri=str(records), queries=QUERIES, output=str(tmp_path / "out.parquet"))
    plan = job.run(config.Recipe(root=str(tmp_path / "runs"), predict=settings), Options(dry_run=True))
    assert (plan["records"], plan["rows"]) == (76, 76 * 3)
    assert plan["model_uri"] == "models:/supreme-ecg@champion"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"uri": ""}, "give the folder"),
        ({"uri": "/no/such/folder"}, "is no folder"),
        ({"queries": ()}, "predict.queries is empty"),
        ({"queries": ("a", "a")}, "there twice"),
        ({"queries": ("a", "?")}, "query is empty"),
    ],
)
def test_wrong_settings_are_refused_with_the_remedy(
    records: Path, root: str, change: dict[str, object], remedy: str
) -> None:
    settings = Predict(**{"uri": str(records), "queries": QUERIES, **change})  # type: ignore[arg-type]
    for options in (Options(), Options(dry_run=True)):
        with pytest.raises(config.ConfigError, match=remedy):
            job.run(config.Recipe(root=root, predict=settings), options)


def test_a_folder_without_records_is_said(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="no file in it"):
        FolderReader.of(Predict(uri=str(tmp_path)))


@pytest.mark.real
def test_real_records_are_scored(session: None, realdata: Path, root: str, tmp_path: Path) -> None:
    settings = Predict(
        uri=str(realdata / "cinc2021" / "training" / "cpsc_2018"),
        queries=("atrial fibrillation?",),
        output=str(tmp_path / "out.parquet"),
    )
    result = prediction.predict(settings, f"{root}/bundle", None)
    assert result.scored + result.rejected == result.records > 10
    assert result.scored > 10
    scores = pq.read_table(str(tmp_path / "out.parquet"))["score"].to_numpy()
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.slow
def test_the_command_line(records: Path, root: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'root = "{root}"\n')
    command = [sys.executable, "jobs/predict.py", "--config", str(recipe), f"predict.uri={records / 'deep'}"]
    command += ['predict.queries=["atrial fibrillation?"]', f"predict.output={tmp_path / 'out.parquet'}"]
    checkout = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout, check=False)
    assert done.returncode == 0, done.stderr
    assert '"scored": 2' in done.stdout.splitlines()[-1]
    assert pq.read_table(str(tmp_path / "out.parquet")).num_rows == 2
