"""A data set that is not in millivolts is refused before it is built, or warned of; a gain cures it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_record

from supreme import config, ecg, quality, storage
from supreme.config import ConfigError
from supreme.ecg import LEADS
from supreme.records import open_source
from supreme.reporting import data_card
from supreme.shards import build, part, plan, scales
from supreme.shards.rows import Job
from supreme.shards.scales import Scales

pytestmark = pytest.mark.unit


def _write(folder: Path, name: str, seed: int, gains: Sequence[float]) -> np.ndarray:
    """A record of 1 uV a step under a header that calls a step 1 / gain mV, lead by lead."""
    signal_mv = ecg_mv(4, rate_hz=100, seed=seed)
    header = write_record(folder, name, signal_mv, rate_hz=100)
    record, *lines = header.read_text().splitlines()
    for row, gain in enumerate(gains):
        lines[row] = lines[row].replace("1000.0(0)/mV", f"{gain!r}(0)/mV")
    header.write_text("\n".join([record, *lines]) + "\n")
    return signal_mv


def _own_range(seed: int) -> list[float]:
    """Steps from the lowest to the highest sample, of each lead: every lead then reads as 1.000 mV."""
    return [float(np.ptp(lead)) for lead in np.rint(ecg_mv(4, rate_hz=100, seed=seed) * 1000)]


def _own_deviation(seed: int) -> list[float]:
    return [float(lead.std()) for lead in np.rint(ecg_mv(4, rate_hz=100, seed=seed) * 1000)]


def _at_random(seed: int) -> list[float]:
    return [float(gain) for gain in np.random.default_rng(seed).uniform(200, 2000, 12).round(1)]


def _true(seed: int) -> list[float]:
    return [1000.0] * 12


WRONG = {"range": _own_range, "deviation": _own_deviation, "random": _at_random}


def _folder(folder: Path, wrong: int, true: int, gains=_own_range) -> config.Source:
    for seed in range(wrong + true):
        _write(folder, f"r{seed:02d}", seed, gains(seed) if seed < wrong else _true(seed))
    ids = "\n".join(f"r{seed:02d},p{seed}" for seed in range(wrong + true))
    (folder / "t.csv").write_text(f"id,patient_id\n{ids}\n")
    return config.Source(kind="wfdb_folder", name="d", uri=str(folder))


def _job(source: config.Source, folder: Path) -> Job:
    return Job(source, config.Shards(duration_s=4), 0, str(folder / "out"))


def _check(job: Job) -> None:
    scales.check_before_building(job, job.open_source().index())


@pytest.mark.parametrize("gains", WRONG.values(), ids=WRONG)
def test_a_set_whose_leads_have_scales_of_their_own_is_refused_and_a_gain_cures_it(tmp_path, caplog, gains):
    source = _folder(tmp_path, 9, 1, gains)
    share = r"9 of 10 records \(90%\) have a scale of its own in each lead .*sources\.N\.gain_per_mv=STEPS"
    with pytest.raises(ConfigError, match=f"source 'd' is refused: {share}"):
        _check(_job(source, tmp_path))
    assert "9 of 10 records (90%)" in caplog.text
    caplog.clear()
    cured = source.model_copy(update={"gain_per_mv": 1000.0})
    _check(_job(cured, tmp_path))
    assert caplog.text == ""
    opened = open_source(cured, 0, 100)
    for seed, entry in enumerate(opened.index()):
        np.testing.assert_allclose(opened.read(entry).signal_mv, ecg_mv(4, rate_hz=100, seed=seed), atol=6e-4)


@pytest.mark.parametrize(
    ("wrong", "level"), [(0, ""), (1, ""), (2, "WARNING"), (5, "WARNING"), (6, "refused")]
)
def test_the_share_decides_between_silence_a_warning_and_refusal(tmp_path, caplog, wrong, level):
    job = _job(_folder(tmp_path, wrong, 10 - wrong), tmp_path)
    if level == "refused":
        with pytest.raises(ConfigError, match="6 of 10 records"):
            _check(job)
    else:
        _check(job)
    assert [record.levelname for record in caplog.records] == (["WARNING"] if level else [])


def test_a_refused_set_leaves_nothing_behind(tmp_path):
    recipe = config.Recipe(
        root=str(tmp_path / "runs"), shards={"duration_s": 4}, sources=[_folder(tmp_path / "raw", 3, 0)]
    )
    with pytest.raises(ConfigError, match="is refused"):
        build.build(recipe, recipe.sources[0])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("gain", "is_warned"), [(1000.0, False), (100.0, True), (20_000.0, True)])
def test_a_gain_that_makes_all_records_too_large_or_too_small_is_warned_of(tmp_path, caplog, gain, is_warned):
    _check(_job(_folder(tmp_path, 3, 0, lambda seed: [gain] * 12), tmp_path))
    assert ("in the median, which is unusual" in caplog.text) == is_warned


def test_limb_leads_that_contradict_each_other_everywhere_are_warned_of(tmp_path, caplog):
    source = _folder(tmp_path, 0, 4)
    for header in tmp_path.glob("*.hea"):
        header.write_text(
            header.read_text()
            .replace("0 II\n", "0 x\n")
            .replace("0 V1\n", "0 II\n")
            .replace("0 x\n", "0 V1\n")
        )
    _check(_job(source, tmp_path))
    assert "3 of 4 records (75%) have limb leads that contradict each other" in caplog.text


def test_flags_and_the_share_stand_in_the_shards_and_on_the_data_card(tmp_path, caplog):
    source = _folder(tmp_path / "raw", 4, 6, _at_random)
    recipe = config.Recipe(root=str(tmp_path), shards={"duration_s": 4}, sources=[source])
    planned = plan.survey(recipe, source)
    plan.begin(planned)
    for name, entries in planned.todo.items():
        part.write({"part": name, "entries": part.dump(entries)}, planned.job)
    plan.publish(planned)
    tables = [pq.read_table(file) for file in Path(planned.job.folder).glob("*.parquet")]
    flagged = {
        row["record_id"] for table in tables for row in table.to_pylist() if "scaled_leads" in row["quality"]
    }
    assert flagged == {f"d/r{seed:02d}" for seed in range(4)}
    with caplog.at_level("WARNING", "supreme"):
        uri, _ = data_card.write(recipe)
    share = "4 of 10 records (40%) have a scale of its own in each lead"
    assert share in caplog.text
    assert share in storage.read_bytes(uri).decode()


@pytest.mark.parametrize("scale", [np.ptp, np.std, lambda signal, axis: np.abs(signal).max(axis) * 0 + 1])
@pytest.mark.parametrize("as_microvolts", [True, False])
def test_samples_that_were_scaled_before_they_were_stored_are_flagged(scale, as_microvolts):
    """One gain for all leads, and no step from which to tell: their equal size alone says it."""
    signal_mv = ecg_mv(8, rate_hz=500, seed=1)
    scales = scale(signal_mv, axis=1)
    scaled = signal_mv / scales[:, None]
    signal = ecg.to_microvolts(scaled) if as_microvolts else scaled
    assert ("scaled_leads" in quality.check(signal, 500)) == bool(np.ptp(scales))


def test_leads_that_are_clipped_at_one_level_are_not_scaled_ones():
    signal_mv = ecg_mv(8, rate_hz=500, seed=1)
    signal_mv[:, 1000:1050], signal_mv[:, 3000:3050] = -5, 5
    flags = quality.check(signal_mv, 500)
    assert np.ptp(signal_mv, axis=1).min() == 10
    assert "clipped:V1" in flags
    assert "scaled_leads" not in flags


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(0.5, 2), min_size=12, max_size=12), st.booleans())
def test_gains_are_wrong_where_only_the_steps_agree(seed, factors, are_right):
    signal_mv = ecg_mv(3, rate_hz=100, seed=seed)
    gains = tuple(1000 * factor for factor in factors)
    scaled = signal_mv / np.array(factors, np.float32)[:, None]
    if are_right:  # a recorder may amplify each lead in its own way
        assert not quality.has_wrong_gains(signal_mv, LEADS, gains)
    elif max(factors[:6]) - min(factors[:6]) > 0.4:
        contradicts = any(flag.startswith(("eint", "gold")) for flag in quality.check(scaled, 100))
        assert quality.has_wrong_gains(scaled, LEADS, gains) == contradicts
    assert not quality.has_wrong_gains(scaled, LEADS, ())


@pytest.mark.real
def test_no_real_record_is_taken_for_one_with_scales_of_its_own(realdata):
    source = open_source(config.Source(kind="ptbxl", uri=str(realdata / "ptb-xl")), 0, 100)
    records = [source.read(entry) for entry in source.index()[::4]]
    ordered = [(ecg.order_leads(record.signal, record.leads)[0], record.rate_hz) for record in records]
    flags = [quality.check(signal, rate_hz) for signal, rate_hz in ordered]
    assert Scales.of(flags).scaled_leads == 0
    ranges = [float(np.ptp(ecg.to_millivolts(signal), axis=1).max()) for signal, _ in ordered]
    assert Scales.of(flags, ranges).warnings() == []
