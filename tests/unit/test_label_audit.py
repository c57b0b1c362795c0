"""Flipped labels come first; verdicts travel through a CSV; bad sheets are refused by line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import evaluation_data
import numpy as np
import pytest

from supreme.config import ConfigError
from supreme.evaluation import handmade_features, label_audit
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.label_audit import Suspect, out_of_fold, suspects
from supreme.evaluation.label_verdicts import read_verdicts, sheet
from supreme.evaluation.probes import CannotProbe
from supreme.records.simulated import SimulatedSource
from supreme.reporting.explained_plates import write_suspects
from supreme.shards.read import ShardDataset

pytestmark = pytest.mark.unit

FLIPPED = 0.05


def _simulated(records: int) -> tuple[Embeddings, Benchmark]:
    """Hand-made features of simulated ECGs, and their true labels of classes with at least 8 %."""
    source = SimulatedSource("simulated", records, 0, rate_hz=100)
    ecgs = [source.read(entry) for entry in source.index()]
    ids = tuple(ecg.entry.record_id for ecg in ecgs)
    codes = [set(ecg.entry.codes) for ecg in ecgs]
    classes = tuple(
        name for name in sorted(set().union(*codes)) if sum(name in row for row in codes) >= 0.08 * records
    )
    labels = np.array([[name in row for name in classes] for row in codes], np.int8)
    values = handmade_features.score(np.stack([ecg.signal_mv for ecg in ecgs]), 100)
    patients = tuple(ecg.entry.patient_id for ecg in ecgs)
    return Embeddings(ids, values), Benchmark("simulated", ids, patients, ids, classes, labels)


def test_first_ranks_hold_flipped_labels_and_verdicts_restore_them(tmp_path: Path) -> None:
    embeddings, benchmark = _simulated(400)
    truth = benchmark.labels.copy()
    flipped = np.random.default_rng(0).random(truth.shape) < FLIPPED
    benchmark.labels[flipped] ^= 1
    probabilities = out_of_fold(embeddings, benchmark, 0, allow_missing=True)
    ranked = suspects(probabilities, benchmark)
    place = {(r, c): flipped[i, j] for i, r in enumerate(benchmark.record_ids)
             for j, c in enumerate(benchmark.classes)}  # fmt: skip
    hits = np.array([place[item.record_id, item.class_name] for item in ranked])
    assert len(ranked) == truth.size
    assert hits[: flipped.sum()].mean() >= 0.55
    assert hits[:20].mean() >= 0.8
    classes = label_audit.audited_classes(probabilities, benchmark)
    assert (
        sum(item.suspect_negatives + item.suspect_positives for item in classes.values())
        > 0.5 * flipped.sum()
    )

    first = label_audit.first_of_each_class(ranked, 20)
    assert len({item.record_id for item in first}) == 20
    assert len({item.class_name for item in first}) > 10
    filled = _fill(sheet("conditions", first, {first[0].record_id: "plates/01.svg"}), benchmark, truth)
    (tmp_path / "verdicts.csv").write_text(filled)
    verdicts = read_verdicts(str(tmp_path / "verdicts.csv"))
    verdicts.check([benchmark])
    corrected, count = verdicts.apply(benchmark)
    assert count == sum(place[item.record_id, item.class_name] for item in first) > 8
    assert (corrected.labels != truth).sum() == flipped.sum() - count
    assert (benchmark.labels != truth).sum() == flipped.sum()
    assert read_verdicts("").apply(benchmark)[1] == 0


def _fill(text: str, benchmark: Benchmark, truth: np.ndarray) -> str:
    """Write the truth into every second verdict, in the spelling of a person, and leave one open."""
    rows = list(csv.DictReader(io.StringIO(text)))
    for row in rows:
        r, c = benchmark.record_ids.index(row["record_id"]), benchmark.classes.index(row["class"])
        assert row["label"] == ("present" if benchmark.labels[r, c] else "absent")
        row["verdict"] = "Present " if truth[r, c] else "absent"
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.DictWriter(out, list(rows[0])[1:], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_audit_knows_neither_open_labels_nor_the_patient() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random((100, 2)) < 0.5, 2, axis=0).astype(np.int8)
    ids = tuple(f"r{n}" for n in range(200))
    patients = tuple(f"p{n // 2}" for n in range(200))
    # A feature that names the patient: a record in another fold than its twin would be known by it.
    values = np.repeat(rng.normal(size=(100, 80)), 2, axis=0).astype(np.float32)
    labels[::7, 1] = -1
    benchmark = Benchmark("made", ids, patients, ids, ("a", "b"), labels)
    probabilities = out_of_fold(Embeddings(ids, values), benchmark, 0)
    assert abs(label_audit.audited_classes(probabilities, benchmark)["a"].auroc - 0.5) < 0.15
    ranked = suspects(probabilities, benchmark)
    assert len(ranked) == (labels >= 0).sum()
    assert [item.doubt for item in ranked] == sorted((item.doubt for item in ranked), reverse=True)
    whole = label_audit.audit(Embeddings(ids, values), benchmark, 0, 5)
    assert whole.classes == label_audit.audited_classes(probabilities, benchmark)
    assert whole.first == tuple(label_audit.first_of_each_class(ranked, 5))
    labels[:, 0] = 0
    labels[3, 0] = 1
    rare = out_of_fold(Embeddings(ids, values), benchmark, 0)
    assert np.isnan(rare[:, 0]).all()
    assert label_audit.audited_classes(rare, benchmark)["a"].auroc is None
    assert {item.class_name for item in suspects(rare, benchmark)} == {"b"}
    with pytest.raises(CannotProbe, match="needs 5 patients"):
        out_of_fold(Embeddings(ids, values), benchmark.select(np.arange(200) < 6), 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line names nothing"),
        ("record_id,class,verdict\nr,a,present\n", "no column benchmark"),
        (
            "benchmark,record_id,class,verdict\nmade,r1,a,maybe\n",
            "verdict 'maybe' is none of present",
        ),
        ("benchmark,record_id,class,verdict\nmade,,a,absent\n", "line 2: a verdict needs"),
        (
            "benchmark,record_id,class,verdict\nm,r,a,absent\nm,r,a,present\n",
            "line 3: another verdict on a of r",
        ),
        ("benchmark,record_id,class,verdict\nmade,r9,a,absent\n", "line 2: made has no record 'r9'"),
        ("benchmark,record_id,class,verdict\nmade,r1,aa,absent\n", "no class 'aa'; nearest: 'a'"),
        ("benchmark,record_id,class,verdict\nmode,r1,a,absent\n", "no benchmark 'mode'; nearest: 'made'"),
    ],
)
def test_bad_sheets_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "v.csv").write_text(text)
    benchmark = Benchmark("any", ("r1",), ("p",), ("r1",), ("a", "b"), np.array([[0, 1]], np.int8), "made")
    with pytest.raises(ConfigError, match=r"evaluation\.corrections") as error:
        read_verdicts(str(tmp_path / "v.csv")).check([benchmark])
    assert message in str(error.value)


def test_a_missing_sheet_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.csv does not exist"):
        read_verdicts(str(tmp_path / "none.csv"))
    (tmp_path / "v.csv").write_bytes(b"benchmark,\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_verdicts(str(tmp_path / "v.csv"))


def test_plates_go_out_with_the_sheet(tmp_path: Path) -> None:
    folder = str(tmp_path / "shards")
    evaluation_data.write_shards(folder, "made", evaluation_data.CONDITIONS, {"test": ["a", "b", "c"]})
    items = [Suspect(f"made/{name}", name, "long_qt", 1, 0.04, 0.96) for name in "ca"]
    uri = write_suspects(str(tmp_path / "audit"), "made", items, ShardDataset.open(folder))
    rows = list(csv.DictReader(Path(uri).read_text().splitlines()))
    assert [(row["record_id"], row["plate"]) for row in rows] == [
        ("made/c", "plates/01.png"),
        ("made/a", "plates/02.png"),
    ]
    for row in rows:
        assert (tmp_path / "audit" / row["plate"]).read_bytes().startswith(b"\x89PNG")
    assert read_verdicts(uri).rows == ()
