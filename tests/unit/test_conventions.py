"""Input conventions of models from elsewhere against plain numpy and scipy, written out anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as sp

from supreme import ecg
from supreme.config import ConfigError
from supreme.inference.convention_apply import apply
from supreme.inference.foreign_convention import ForeignConvention, open_convention, shipped

pytestmark = pytest.mark.unit

MIMIC = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]


def record_uv(seconds: float, rate_hz: int, seed: int = 0) -> np.ndarray:
    """Waves, drift and noise; every lead of another size, so that a swapped one is noticed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    waves = 500 * np.sin(2 * np.pi * 7 * t) + 200 * np.sin(2 * np.pi * 0.2 * t)
    sizes = np.linspace(0.3, 2, 12)[:, None]
    return (sizes * waves + rng.normal(0, 60, (12, len(t)))).astype(np.int16)


def millivolts(signal_uv: np.ndarray) -> np.ndarray:
    """As a reader of WFDB files has it: steps over gain, in float64."""
    return signal_uv / 1000.0


def expected_merl(mv: np.ndarray) -> np.ndarray:
    x = mv[:, :5000]
    x = np.pad(x, ((0, 0), (0, 5000 - x.shape[1])), "constant", constant_values=0)
    x = (x - np.min(x)) / (np.max(x) - np.min(x) + 1e-8)
    x = x.astype(np.float32)
    x[[4, 5]] = x[[5, 4]]
    return x


@pytest.mark.parametrize("form", ["microvolts", "millivolts"])
@pytest.mark.parametrize("seconds", [3, 5, 10, 30])
def test_merl_is_bit_equal_to_numpy(seconds: int, form: str) -> None:
    uv = record_uv(seconds, 500)
    prepared = apply(open_convention("merl"), uv if form == "microvolts" else ecg.to_millivolts(uv), 500)
    assert prepared.values.dtype == np.float32
    assert prepared.values.tobytes() == expected_merl(millivolts(uv)).tobytes()
    assert prepared.n_valid == min(5000, uv.shape[1])


@given(st.integers(0, 10_000), st.sampled_from([200.0, 500.0, 1000.0, 999.7]))
@settings(max_examples=30, deadline=None)
def test_merl_is_bit_equal_at_any_gain(seed: int, gain: float) -> None:
    """Whole microvolts as float64 of the file; other gains as the float32 that was handed over."""
    steps = np.random.default_rng(seed).integers(-2000, 2000, (12, 600))
    mv = steps / gain
    as_float32 = mv.astype(np.float32)
    whole = gain in (200.0, 500.0, 1000.0)
    source = mv if whole else as_float32.astype(np.float64)
    values = apply(open_convention("merl"), as_float32, 500).values
    assert values.tobytes() == expected_merl(source).tobytes()


def test_ecgfounder_is_scipy_in_its_order() -> None:
    uv = record_uv(12, 500)
    x = millivolts(uv)[:, :5000]
    x = np.stack([sp.filtfilt(*sp.iirnotch(50, 30, 500), lead) for lead in x])
    x = np.stack([sp.filtfilt(*sp.butter(N=4, Wn=[0.67, 40], btype="bandpass", fs=500), lead) for lead in x])
    x = x - np.stack([sp.medfilt(lead, kernel_size=201) for lead in x])
    x = (x - np.mean(x)) / (np.std(x) + 1e-8)
    assert np.array_equal(apply(open_convention("ecgfounder"), uv, 500).values, x.astype(np.float32))


def test_ecg_fm_is_standardised_over_the_record_before_it_is_cut() -> None:
    uv = record_uv(10, 250)
    uv[3] = 40
    mv, size = millivolts(uv), 5000
    places = np.linspace(0, size - 1, mv.shape[1])
    x = np.stack([np.interp(np.arange(size), places, lead) for lead in mv])
    x = x - x.mean(axis=1, keepdims=True)
    std = x.std(axis=1, keepdims=True)
    x = np.where(std == 0, 0, x / np.where(std == 0, 1, std))[:, :2500]
    prepared = apply(open_convention("ecg-fm"), uv, 250)
    assert np.array_equal(prepared.values, x.astype(np.float32))
    assert prepared.notes == (
        "up-sampled from 250 to 500 Hz",
        "cut to its first 5 s",
        "missing (flat): aVR",
    )


def test_hubert_ecg_is_scaled_by_lead_before_it_is_decimated() -> None:
    uv = record_uv(10, 500)
    x = sp.lfilter(sp.firwin(150, [0.05 / 250, 47 / 250], pass_zero=False), 1.0, millivolts(uv), axis=-1)
    low, high = x.min(axis=1)[None].T, x.max(axis=1)[None].T
    x = (2 * (x - low) / (high - low + 1e-8) - 1)[:, :2500]
    expected = sp.resample(x, 500, axis=1)
    assert np.allclose(apply(open_convention("hubert-ecg"), uv, 500).values, expected, atol=1e-6)


def test_st_mem_is_filtered_and_standardised_over_all_leads() -> None:
    uv = record_uv(9, 500)
    x = sp.resample(millivolts(uv), 2250, axis=1)
    x = sp.sosfiltfilt(sp.butter(5, 0.67, btype="highpass", fs=250, output="sos"), x)
    x = sp.sosfiltfilt(sp.butter(5, 40, btype="lowpass", fs=250, output="sos"), x)
    x = (x - x.mean()) / x.std()
    assert np.allclose(apply(open_convention("st-mem"), uv, 500).values, x, atol=1e-5)


def test_ecg_jepa_takes_eight_leads_and_ked_pads_on_both_sides() -> None:
    uv = record_uv(10, 500)
    x = sp.resample(millivolts(uv), 2500, axis=1)
    prepared = apply(open_convention("ecg-jepa"), uv, 500)
    assert np.allclose(prepared.values, x[[0, 1, 6, 7, 8, 9, 10, 11]], atol=1e-7)
    assert "the model takes no III, aVR, aVL, aVF" in prepared.notes
    short = record_uv(6, 100)
    prepared = apply(open_convention("ked"), short, 100)
    assert np.array_equal(prepared.values[:, 200:800], ecg.to_millivolts(short))
    assert not prepared.values[:, :200].any()
    assert not prepared.values[:, 800:].any()
    assert prepared.notes == ("padded with zeros to 10 s",)


def test_resampling_is_the_house_way_unless_the_model_has_its_own() -> None:
    from supreme import signal

    uv = record_uv(10, 100)
    house = signal.resample(ecg.to_millivolts(uv), 100, 500)[[ecg.LEADS.index(lead) for lead in MIMIC]]
    x = house.astype(np.float64)
    x = (x - x.min()) / (x.max() - x.min() + 1e-8)
    prepared = apply(open_convention("merl"), uv, 100)
    assert np.array_equal(prepared.values, x.astype(np.float32))
    assert prepared.notes == ("up-sampled from 100 to 500 Hz",)


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("rate_hz", [100, 257, 500, 1000])
def test_every_shipped_convention_gives_its_shape_at_any_rate(name: str, rate_hz: int) -> None:
    convention = open_convention(name)
    assert convention.name == name
    for seconds in (2.5, 10.02):
        prepared = apply(convention, record_uv(seconds, rate_hz), rate_hz)
        assert prepared.values.shape == convention.shape
        assert np.isfinite(prepared.values).all()
        assert (rate_hz != convention.rate_hz) == any("-sampled" in note for note in prepared.notes)


def test_what_is_remembered_is_marked() -> None:
    marks = {name: open_convention(name).confidence for name in shipped()}
    assert marks["supreme-paper"] == "recollection"
    assert marks["merl"] == "confirmed"
    assert {"melp", "d-beta", "ecg-cpc", "heartlang", "ked", "ecg-fm", "ecgfounder", "st-mem"} <= marks.keys()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('leads = ["I", "V7"]', "x.toml: leads: unknown lead 'V7': leads are I, II, III"),
        ('leads = ["I", "-aVR"]', "unknown lead '-aVR'"),
        ('leads = ["I", "II", "lead_I"]', "lead I is named twice"),
        ("leads = []", "leads: Tuple should have at least 1 item"),
        ("seconds = 0.0011", "0.0011 s at 500 Hz are 0.55 samples"),
        ("colour = 3", "x.toml: colour: unknown key"),
        ('rate_hz = "fast"', "rate_hz: Input should be a valid integer"),
        (
            "[[filters]]\nkind = 'notch'\nhz = 250\nquality = 3",
            "notch filter at 250 Hz must lie below half of",
        ),
        ("[[filters]]\nkind = 'wavelet'", "filters.0: Input tag 'wavelet'"),
        ("[[filters]]\nkind = 'butterworth'\norder = 4", "give low_hz, high_hz or both"),
        ("rate_hz = ", "x.toml: no valid TOML"),
    ],
)
def test_a_wrong_convention_is_refused_with_its_key(tmp_path: Path, line: str, problem: str) -> None:
    values = {"name": '"x"', "rate_hz": "500", "seconds": "10", "source": '"here"', "confidence": '"digest"'}
    head = [f"{key} = {value}" for key, value in values.items() if not line.startswith(f"{key} =")]
    file = tmp_path / "x.toml"
    file.write_text("\ufeff" + "\n".join([*head, line]), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        open_convention(str(file))
    assert problem in str(error.value)


def test_a_name_that_nobody_has_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no input convention 'mrel': give a .toml file or one of d-beta"):
        open_convention("mrel")
    with pytest.raises(ConfigError, match=r"absent.toml: not found"):
        open_convention(str(tmp_path / "absent.toml"))


def test_a_spelling_of_a_lead_is_no_other_lead() -> None:
    convention = ForeignConvention(
        name="x", rate_hz=100, seconds=2.0, leads=("AVF", "lead II"), source="here", confidence="digest"
    )
    assert convention.leads == ("aVF", "II")
    uv = record_uv(2, 100)
    assert np.array_equal(apply(convention, uv, 100).values, ecg.to_millivolts(uv)[[5, 1]])


@pytest.mark.parametrize(
    ("signal", "rate_hz", "problem"),
    [
        (np.zeros((8, 100)), 100, r"shape \(8, 100\): give \(12, samples\)"),
        (np.zeros((12, 0)), 100, "give"),
        (np.full((12, 100), np.nan), 100, "NaN"),
        (np.zeros((12, 100)), 0, "sampling rate in Hz"),
    ],
)
def test_a_signal_that_is_none_is_refused(signal: np.ndarray, rate_hz: float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        apply(open_convention("merl"), signal, rate_hz)


@pytest.mark.real
def test_merl_on_real_files_is_what_the_authors_code_reads(realdata: Path) -> None:
    import wfdb

    files = (
        sorted((realdata / "ptb-xl").rglob("*_hr.hea"))[:20]
        + sorted((realdata / "mimic-iv-ecg").rglob("*.hea"))[:20]
    )
    if not files:
        pytest.skip(f"no records of PTB-XL or MIMIC-IV-ECG below {realdata}")
    compared = 0
    for file in files:
        mv, fields = wfdb.rdsamp(str(file.with_suffix("")))
        if not np.isfinite(mv).all() or fields["fs"] != 500:
            continue
        ordered, _ = ecg.order_leads(mv.T.astype(np.float32), fields["sig_name"])
        by_name = mv.T[
            [[name.casefold() for name in fields["sig_name"]].index(lead.casefold()) for lead in ecg.LEADS]
        ]
        values = apply(open_convention("merl"), ordered, 500).values
        assert values.tobytes() == expected_merl(by_name).tobytes(), file.name
        compared += 1
    assert compared >= 10
