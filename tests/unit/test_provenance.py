"""What a model has seen is met again in any copy of the data set, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import evaluation_data
import numpy as np
import pyarrow as pa
import pytest
import tiny_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import signal, storage
from supreme.ecg import to_microvolts
from supreme.inference import bundle, provenance
from supreme.inference.bundle import BundleError
from supreme.inference.bundle.layout import RECORDINGS
from supreme.inference.provenance import Provenance, ProvenanceError, SeenDataset
from supreme.inference.query_model import EcgQueryModel
from supreme.records.recordings import recording_key
from supreme.records.simulated import SimulatedSource
from supreme.settings.data import Source
from supreme.shards import fingerprint
from supreme.shards.read import ShardDataset

pytestmark = pytest.mark.unit

COUNT = 40


def table(ids: list[str], signals_uv: np.ndarray, rate_hz: float, uris: list[str] | None = None) -> pa.Table:
    digits = [row.tobytes().hex() for row in fingerprint.fingerprints(signals_uv, rate_hz)]
    return pa.table({"record_id": ids, "fingerprint": digits, "source_uri": uris or [""] * len(ids)})


def of_table(kind: str, rows: pa.Table) -> Provenance:
    """The provenance of a model that was trained on these records."""
    keys = provenance._unique_rows(provenance._hashed_keys(kind, rows))
    prints = provenance._unique_rows(provenance._fingerprints(kind, rows))
    digest = storage.sha256(keys.tobytes())
    seen = SeenDataset(
        dataset="d",
        kind=kind,
        shards_digest="",
        splits=("train",),
        records=len(rows),
        recordings_digest=digest,
    )
    return Provenance((seen,), (keys,), (prints,))


@pytest.fixture(scope="module")
def ecgs_500hz() -> np.ndarray:
    """Ten seconds of 500 Hz in millivolts."""
    source = SimulatedSource("s", COUNT, 3, rate_hz=500)
    return np.stack([source.read(entry).signal_mv for entry in source.index()])


def test_a_copy_is_met_by_its_signal_at_another_rate_and_under_other_ids(ecgs_500hz: np.ndarray) -> None:
    low = np.stack([signal.prepare(one, 500, 100, 1000)[0] for one in ecgs_500hz])
    half = COUNT // 2
    trained = of_table("ptbxl", table([f"p/{i:05d}" for i in range(half)], to_microvolts(low[:half]), 100))
    copies = table([f"ward/x{i}" for i in range(COUNT)], to_microvolts(ecgs_500hz), 500)
    matches = trained.seen("wfdb_folder", copies)
    assert not matches.by_key.any()
    np.testing.assert_array_equal(matches.by_signal, np.arange(COUNT) < half)


def test_a_copy_is_met_by_its_number_whatever_its_signal(ecgs_500hz: np.ndarray) -> None:
    signals_uv = to_microvolts(ecgs_500hz[:3])
    trained = of_table("ptbxl", table(["ptbxl/00017", "ptbxl/00018", "ptbxl/00019"], signals_uv, 500))
    filtered = table(["ptb-xl/HR00017", "ptb-xl/HR00020", "ptb-xl/HR00019"], signals_uv[::-1] // 3, 500)
    matches = trained.seen("cinc2021", filtered)
    assert matches.by_key.tolist() == [True, False, True]
    assert matches.mask.tolist() == [True, True, True], "the middle one is 00018 under another number"
    assert matches.by_signal.tolist() == [False, True, False]


def test_ids_of_another_folder_or_seed_are_other_recordings(ecgs_500hz: np.ndarray) -> None:
    signals_uv = to_microvolts(ecgs_500hz)
    ids = [f"wfdb_folder/{i}" for i in range(COUNT // 2)]
    trained = of_table("wfdb_folder", table(ids, signals_uv[: COUNT // 2], 500))
    assert not trained.seen("wfdb_folder", table(ids, signals_uv[COUNT // 2 :], 500)).mask.any()
    assert trained.seen("wfdb_folder", table(ids, signals_uv[: COUNT // 2], 500)).by_key.all()
    drawn = of_table("simulated", table(["s/1"], signals_uv[:1], 500, ["simulated:0/1"]))
    assert not drawn.seen("simulated", table(["s/1"], signals_uv[:1], 500, ["simulated:1/1"])).mask.any()
    assert drawn.seen("simulated", table(["t/1"], signals_uv[1:2], 500, ["simulated:0/1"])).mask.all()


@pytest.mark.parametrize(
    ("kind", "record", "key"),
    [
        ("ptbxl", "ptbxl/00017", "ptbxl:17"),
        ("cinc2021", "training/HR00017", "ptbxl:17"),
        ("cpsc2018", "c/A0001", "cpsc2018:1"),
        ("cinc2021", "x/A0001", "cpsc2018:1"),
        ("cinc2021", "x/Q0001", "cinc_cpsc_2018_extra:1"),
        ("csn", "csn/JS10646", "chapman_shaoxing:10646"),
        ("mimic_iv_ecg", "m/40689238", "mimic_iv_ecg:40689238"),
        ("code15", "c/1169160", "code15:1169160"),
        ("wfdb_folder", "ward/a1", "ward/a1#00ff"),
        ("cinc2021", "x/I0001", "x/I0001#00ff"),
    ],
)
def test_recording_keys(kind: str, record: str, key: str) -> None:
    assert recording_key(kind, record, fingerprint="00ff") == key


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fingerprints_match_up_to_six_bits_and_never_without_a_signal(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    known = rng.integers(0, 256, (50, 12), dtype=np.uint8)
    bits = np.unpackbits(known, axis=1)
    flips = data.draw(st.lists(st.integers(0, 95), max_size=9, unique=True))
    bits[:, flips] ^= 1
    queries = np.vstack([np.packbits(bits, axis=1), np.zeros((1, 12), np.uint8)])
    near = provenance._near(queries, np.vstack([known, np.zeros((1, 12), np.uint8)]))
    one_band_is_left = len({flip // 16 for flip in flips}) < 6
    assert near[:50].all() == (len(flips) <= 6 and one_band_is_left)
    assert near[:50].any() == near[:50].all()
    assert not near[50]


def test_a_mimic_of_records_takes_less_than_15_mb() -> None:
    rng = np.random.default_rng(0)
    prints = [row.tobytes().hex() for row in rng.integers(0, 256, (8000, 16), dtype=np.uint8)]
    rows = pa.table(
        {
            "record_id": [f"mimic_iv_ecg/{i}" for i in range(8000)],
            "fingerprint": prints,
            "source_uri": [""] * 8000,
        }
    )
    content = of_table("mimic_iv_ecg", rows).to_safetensors()
    assert len(content) * 100 < 15e6
    assert b"mimic" not in content


def test_a_bundle_holds_what_its_model_has_seen(tmp_path: Path, ecgs_500hz: np.ndarray) -> None:
    rows = table([f"ptbxl/{i:05d}" for i in range(COUNT)], to_microvolts(ecgs_500hz), 500)
    trained = of_table("ptbxl", rows)
    digest = tiny_bundle.write(tmp_path / "a", trained_on=trained)
    model = EcgQueryModel.from_bundle(str(tmp_path / "a"), digest)
    assert model.trained_on is not None
    assert model.trained_on.datasets == trained.datasets
    assert model.trained_on.seen("ptbxl", rows).by_key.all()
    described = json.loads((tmp_path / "a" / "config.json").read_text())["trained_on"]
    assert described == [trained.datasets[0].model_dump(mode="json")]
    tiny_bundle.write(tmp_path / "b")
    assert EcgQueryModel.from_bundle(str(tmp_path / "b")).trained_on is None
    (tmp_path / "a" / RECORDINGS).unlink()
    with pytest.raises(BundleError, match=r"recordings\.safetensors"):
        bundle.verify(str(tmp_path / "a"))


@pytest.mark.parametrize("damage", ["absent", "cut", "of another model"])
def test_damaged_provenance_is_named(tmp_path: Path, ecgs_500hz: np.ndarray, damage: str) -> None:
    rows = table([f"ptbxl/{i:05d}" for i in range(COUNT)], to_microvolts(ecgs_500hz), 500)
    tiny_bundle.write(tmp_path, trained_on=of_table("ptbxl", rows))
    file = tmp_path / RECORDINGS
    if damage == "absent":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.write_bytes(of_table("ptbxl", rows.slice(0, 3)).to_safetensors())
    with pytest.raises(BundleError, match=r"recordings\.safetensors.*register or download it again"):
        EcgQueryModel.from_bundle(str(tmp_path))


def test_recordings_of_another_model_are_refused(ecgs_500hz: np.ndarray) -> None:
    rows = table([f"ptbxl/{i:05d}" for i in range(COUNT)], to_microvolts(ecgs_500hz), 500)
    trained, other = of_table("ptbxl", rows), of_table("ptbxl", rows.slice(0, 3))
    parsed = Provenance.parse(trained.datasets, trained.to_safetensors())
    assert parsed.seen("ptbxl", rows).by_key.all()
    with pytest.raises(ProvenanceError, match=r"are not those of config\.json"):
        Provenance.parse(trained.datasets, other.to_safetensors())
    with pytest.raises(ProvenanceError, match="cannot be read"):
        Provenance.parse(trained.datasets, trained.to_safetensors()[:100])


def test_only_training_and_validation_count_as_seen(tmp_path: Path) -> None:
    ids = {split: [f"A000{n}" for n in range(at, at + 3)] for at, split in ((0, "train"), (3, "validation"))}
    ids["test"] = ["A0006", "A0007"]
    evaluation_data.write_shards(str(tmp_path / "s"), "c", evaluation_data.CPSC, ids)
    shards = ShardDataset.open(str(tmp_path / "s"))
    trained = Provenance.collect([Source(kind="cpsc2018", uri="x", name="c")], [shards])
    [seen] = trained.datasets
    assert (seen.dataset, seen.records, seen.splits) == ("c", 6, ("train", "validation"))
    assert seen.shards_digest == shards.manifest.digest()
    rows = shards.table(("record_id", "split", *provenance.COLUMNS[1:]))
    mask = trained.seen("cpsc2018", rows).mask
    assert mask.tolist() == [split != "test" for split in rows.column("split").to_pylist()]
