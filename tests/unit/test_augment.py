"""Each change does what its name says, is a function of the generator, and leaves labels true."""

from __future__ import annotations

import re
from typing import Any

import ecg_augmentations as ea
import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

from supreme import config
from supreme.augment import augment
from supreme.records.simulated import SimulatedSource
from supreme.reports.vocabulary import load_base
from supreme.settings.augment import REFUSED, Augment, refused
from supreme.settings.training import Training

pytestmark = pytest.mark.unit

RATE_HZ, SAMPLES = 200, 2000
#: Every change, as strong as it may be.
STRONGEST: dict[str, dict[str, Any]] = {
    "amplitude": {"factor": 1.25, "lead_factor": 1.25},
    "crosstalk": {"sd": 0.08},
    "baseline_wander": {"peak_mv": 0.2},
    "gaussian_noise": {"sd_mv": 0.1},
    "muscle_noise": {"sd_mv": 0.1},
    "powerline_noise": {"sd_mv": 0.1},
    "time_shift": {"max_s": 2.0},
    "random_crop": {"cut_s": 2.0},
    "lead_mask": {"leads": 3},
}
NOISES = ("gaussian_noise", "muscle_noise", "powerline_noise")


def changed(ecg_mv: torch.Tensor, seed: int = 0, rate_hz: float = RATE_HZ, **asked: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(ecg_mv, generator, Augment.model_validate(asked), rate_hz)


def ecgs(count: int) -> torch.Tensor:
    """(count, 12, 2000): the same ECG again and again, with beats of another size in each lead."""
    time = np.arange(SAMPLES) / RATE_HZ
    beats = np.exp(-0.5 * ((time[:, None] - np.arange(0.4, 10, 0.8)) / 0.02) ** 2).sum(1)
    one = torch.tensor(np.linspace(-1.5, 1.5, 12)[:, None] * beats, dtype=torch.float32)
    return one.expand(count, 12, SAMPLES).contiguous()


def test_off_is_the_very_same_object_and_draws_nothing() -> None:
    ecg_mv, generator = ecgs(2), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert Training().augment == Augment()
    assert augment(ecg_mv, generator, Training().augment, RATE_HZ) is ecg_mv
    assert torch.equal(generator.get_state(), before)


def test_every_change_is_tested_at_its_strongest() -> None:
    assert set(STRONGEST) == set(Augment.model_fields)
    for name, values in STRONGEST.items():
        for key, value in values.items():
            assert_refused(
                {name: values | {key: value * 1.01 if isinstance(value, float) else value + 1}}, name
            )


@pytest.mark.parametrize("name", [*STRONGEST, "all", "half"])
def test_the_generator_alone_decides(name: str) -> None:
    asked = {"all": STRONGEST, "half": {n: v | {"p": 0.5} for n, v in STRONGEST.items()}}
    chosen = asked.get(name, {name: STRONGEST.get(name)})
    ecg_mv, before, state = ecgs(6), ecgs(6), torch.get_rng_state()
    first = changed(ecg_mv, 3, **chosen)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(first, changed(ecg_mv, 3, **chosen))
    assert not torch.equal(first, changed(ecg_mv, 4, **chosen))
    assert torch.equal(ecg_mv, before), "the input is left alone"
    assert (first.shape, first.dtype) == (before.shape, before.dtype)
    assert torch.isfinite(first).all()
    assert len({row.numpy().tobytes() for row in first}) > 3, "each ECG is changed on its own"


def test_two_views_differ() -> None:
    generator, asked = torch.Generator().manual_seed(0), Augment.model_validate(STRONGEST)
    assert not torch.equal(*(augment(ecgs(2), generator, asked, RATE_HZ) for _ in range(2)))


def test_p_is_the_share_of_the_ecgs_that_are_changed() -> None:
    ecg_mv = ecgs(400)[..., :200].contiguous()
    same = (changed(ecg_mv, crosstalk={"sd": 0.05, "p": 0.3}) == ecg_mv).flatten(1).all(1)
    assert same.float().mean().item() == pytest.approx(0.7, abs=0.07)


def test_amplitude_scales_within_its_factors_and_not_on_the_average() -> None:
    ecg_mv = torch.ones(500, 12, 3)
    together = changed(ecg_mv, amplitude={"factor": 1.25})
    assert torch.equal(together, together[:, :1, :1].expand_as(together))
    apart = changed(ecg_mv, amplitude={"factor": 1.0, "lead_factor": 1.2})
    assert (apart.std(1) > 0).all()
    for gain, factor in ((together, 1.25), (apart, 1.2)):
        assert gain.log().mean().item() == pytest.approx(0, abs=0.02)
        assert gain.max().item() == pytest.approx(factor, rel=0.01)
        assert gain.min().item() == pytest.approx(1 / factor, rel=0.01)


def test_crosstalk_adds_a_share_of_each_lead_to_each() -> None:
    ecg_mv = torch.zeros(3000, 12, 2)
    ecg_mv[:, 4] = 2.0
    share = (changed(ecg_mv, crosstalk={"sd": 0.06}) - ecg_mv)[..., 0] / 2.0
    torch.testing.assert_close(share.std(0), torch.full((12,), 0.06), rtol=0.1, atol=0)
    assert share.T.corrcoef().fill_diagonal_(0).abs().max() < 0.1, "shares are independent"


def test_wander_is_slow_and_below_its_peak() -> None:
    length = 40 * RATE_HZ
    wander = changed(torch.zeros(50, 12, length), baseline_wander={"peak_mv": 0.15})
    power = torch.fft.rfft(wander * torch.hann_window(length)).abs().square()
    frequency_hz = torch.fft.rfftfreq(length, 1 / RATE_HZ)
    assert power[..., frequency_hz > 0.7].sum() < 1e-4 * power.sum()
    assert power[..., frequency_hz < 0.05].sum() < 1e-2 * power.sum()
    peak = wander.abs().amax(-1)
    assert 0.145 < peak.max() <= 0.15
    assert peak.mean().item() == pytest.approx(0.075, abs=0.006)
    # One breath for all leads, each with its own phase.
    assert (power.argmax(-1).amax(1) - power.argmax(-1).amin(1)).max() <= 1
    assert (wander[0].corrcoef().abs() < 0.99).sum() > 100


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_its_size_in_millivolts_whatever_the_ecg(name: str) -> None:
    asked = {name: {"sd_mv": 0.06}}
    noise = changed(torch.zeros(80, 12, SAMPLES), **asked)
    sd = noise.std(-1)
    assert 0.055 < sd.max() < 0.064
    # The square of an even draw: E[u^4] = 1/5.
    assert sd.square().mean().item() == pytest.approx(0.06**2 / 5, rel=0.12)
    assert noise.mean(-1).abs().max() < 0.01
    tall = 5 * ecgs(80)
    torch.testing.assert_close(changed(tall, **asked) - tall, noise, atol=2e-6, rtol=0)
    unlike = noise[:10].flatten(0, 1).corrcoef().fill_diagonal_(0).abs()
    assert unlike.max() < (1.01 if name == "powerline_noise" else 0.3)


def test_each_noise_has_its_spectrum() -> None:
    zero, frequency_hz = torch.zeros(40, 12, SAMPLES), torch.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)

    def share(name: str, low_hz: float, high_hz: float) -> float:
        power = torch.fft.rfft(changed(zero, **{name: {"sd_mv": 0.1}})).abs().square().sum((0, 1))
        return float(power[(frequency_hz >= low_hz) & (frequency_hz < high_hz)].sum() / power.sum())

    assert share("gaussian_noise", 0, 50) == pytest.approx(0.5, abs=0.02)
    assert share("muscle_noise", 18, 95) > 0.95
    assert share("muscle_noise", 0, 10) < 0.01
    assert share("powerline_noise", 49.5, 50.5) > 0.999


def test_muscle_noise_comes_in_bursts() -> None:
    noise = changed(torch.zeros(50, 12, SAMPLES), muscle_noise={"sd_mv": 0.1})
    by_second = noise.reshape(50, 12, 10, -1).std(-1)
    assert (by_second.amax(-1) / by_second.amin(-1)).median() > 3


def test_a_shift_moves_all_leads_alike_and_leaves_zeros() -> None:
    impulse, ones = torch.zeros(200, 12, SAMPLES), torch.ones(200, 12, SAMPLES)
    impulse[..., 900] = 1.0
    moved = changed(impulse, time_shift={"max_s": 0.6}).argmax(-1) - 900
    assert (moved == moved[:, :1]).all()
    assert 115 <= moved.max() <= 120
    assert -120 <= moved.min() <= -115
    assert len(moved[:, 0].unique()) > 80
    left = changed(ones, time_shift={"max_s": 0.6})
    for row, shift in zip(left[:, 0], moved[:, 0].tolist(), strict=True):
        empty = slice(0, shift) if shift > 0 else slice(SAMPLES + shift, SAMPLES)
        assert (row[empty] == 0).all()
        assert row.sum() == SAMPLES - abs(shift)


def test_a_crop_is_a_window_moved_to_the_beginning_and_padded_with_zeros() -> None:
    ramp = torch.arange(1, SAMPLES + 1).float().expand(300, 12, SAMPLES)
    cropped = changed(ramp, random_crop={"cut_s": 1.5})
    kept = SAMPLES - 300
    assert cropped.shape == ramp.shape
    assert (cropped[..., kept:] == 0).all()
    assert (cropped[..., 1:kept] - cropped[..., : kept - 1] == 1).all(), "no time is stretched"
    start = cropped[:, :, 0] - 1
    assert (start == start[:, :1]).all()
    assert start.min() < 10
    assert 290 < start.max() <= 300


def test_masked_leads_are_zero_and_the_others_untouched() -> None:
    ecg_mv = ecgs(600)[..., :300].contiguous()
    after = changed(ecg_mv, lead_mask={"leads": 3})
    masked = (after == 0).all(-1)
    assert torch.equal(after, torch.where(masked[..., None], 0.0, ecg_mv))
    counts = torch.bincount(masked.sum(1), minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 160
    assert masked.float().mean(0).min() > 0.1, "every lead at times"


def test_what_is_empty_stays_exactly_zero_under_noise() -> None:
    after = changed(torch.ones(4, 12, SAMPLES), **STRONGEST)
    assert (after[..., -2 * RATE_HZ :] == 0).all()
    assert ((after == 0).all(-1).sum(1) > 0).all()


def rr_intervals(ecg_mv: torch.Tensor) -> list[np.ndarray]:
    """Samples between bursts of energy between 5 and 20 Hz, all leads together."""
    band = sosfiltfilt(butter(2, (5, 20), "bandpass", fs=RATE_HZ, output="sos"), ecg_mv.double().numpy())
    width = round(0.12 * RATE_HZ)
    energy = uniform_filter1d(np.square(band).sum(1), width)[:, width:-width]
    found = []
    for one in np.sqrt(energy.clip(min=0)):
        peaks, _ = find_peaks(one, height=0.4 * np.quantile(one, 0.98), distance=round(0.25 * RATE_HZ))
        found.append(np.diff(peaks))
    return found


@pytest.mark.parametrize("asked", ["strongest", "demo"])
def test_the_heart_rate_stays(asked: str) -> None:
    source = SimulatedSource("simulated", 40, seed=1, rate_hz=RATE_HZ)
    signals = np.stack([source.read(entry).signal_mv for entry in source.index()])
    ecg_mv = torch.from_numpy(signals.astype(np.float32))
    before = rr_intervals(ecg_mv)
    regular = [i for i, rr in enumerate(before) if rr.std() < 0.1 * rr.mean()]
    rate = np.array([60 * RATE_HZ / np.median(before[i]) for i in regular])
    assert len(rate) > 20
    assert rate.max() - rate.min() > 50
    settings = config.load("demo").training.augment if asked == "demo" else Augment.model_validate(STRONGEST)
    after = rr_intervals(augment(ecg_mv, torch.Generator().manual_seed(0), settings, RATE_HZ))
    same = np.abs([60 * RATE_HZ / np.median(after[i]) for i in regular] / rate - 1) < 0.03
    assert same.mean() > 0.95, rate[~same]


def assert_refused(asked: dict[str, Any], *said: str) -> str:
    with pytest.raises(config.ConfigError) as caught:
        config.parse({"training": {"augment": asked}, "shards": {"rate_hz": RATE_HZ}})
    assert "training.augment" in str(caught.value)
    for words in said:
        assert words in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("names", REFUSED)
def test_what_changes_a_label_is_refused_with_the_reason(names: str) -> None:
    what, entities = REFUSED[names]
    for name in names.split():
        assert_refused({name: {}}, f"{name} is refused: it changes", what, entities)
    assert set(entities.split(", ")) <= set(load_base().ids)


def test_entities_that_bounds_name_are_in_the_vocabulary() -> None:
    for name, values in STRONGEST.items():
        for key in values:
            reason = assert_refused({name: values | {key: 100}})
            named = re.findall(r"\w*(?:_\w+)+", reason.partition(": ")[2])
            assert {word for word in named if "augment" not in word} & set(load_base().ids), reason


def test_every_transform_of_the_library_is_used_or_refused() -> None:
    """So that one of a later version does not slip in, and none is called unknown."""
    used = {"AmplitudeScale", "MuscleNoise", "PowerlineNoise", "TimeShift", "RandomCrop", "LeadMask"}
    ours = {"BaselineWander", "GaussianNoise"}
    harmless = {"DeriveLimbLeads", "RecordedNoise"}
    plumbing = {"Transform", "Compose", "ComposeMany", "OneOf", "RandomApply"}
    classes = {name for name, value in vars(ea).items() if isinstance(value, type)}
    assert {name for name in classes if refused(name)} == classes - used - ours - harmless - plumbing


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"baseline_wandr": {"peak_mv": 0.1}}, "'training.augment.baseline_wander'"),
        ({"lead_mask": {"lead": 2}}, "'training.augment.lead_mask.leads'"),
        ({"amplitude": {"factor": 0.9}}, "greater than or equal to 1"),
        ({"time_shift": {"max_s": 2.5}}, "time_shift.max_s: more than 2 of 10 s"),
        ({"powerline_noise": {"sd_mv": 0.05, "frequency_hz": 100}}, "shards.rate_hz=200"),
    ],
)
def test_wrong_settings_name_their_key(asked: dict[str, Any], said: str) -> None:
    assert_refused(asked, said)


def test_the_demo_is_augmented_as_strongly_as_it_was_chosen() -> None:
    """On it depends what a model of simulated ECGs gives on real ones."""
    settings = config.load("demo").training.augment

    def after(ecg_mv: torch.Tensor) -> torch.Tensor:
        return augment(ecg_mv, torch.Generator().manual_seed(0), settings, 100)

    added = after(torch.zeros(300, 12, 1000))
    assert added.square().mean().sqrt().item() == pytest.approx(0.055, abs=0.003)
    constant = after(torch.eye(12)[:, :, None].expand(12, 12, 1000).repeat(50, 1, 1))
    gain = constant[..., 100:900].mean(-1).reshape(50, 12, 12).diagonal(dim1=1, dim2=2)
    assert gain[gain.abs() > 0.3].std().item() == pytest.approx(0.17, abs=0.02)
    assert (constant == 0).all(-1).float().mean().item() == pytest.approx(0.0625, abs=0.01)
