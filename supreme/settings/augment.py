"""Augmentation: the section ``[training.augment]``, limited to changes that leave a report true.

Each size is bounded where findings begin to change. Augmentations that change a finding at any size are
refused by name, also for objectives without labels: an encoder that is invariant to the heart rate cannot
report it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from supreme.settings.section import Section, at_most

#: Share of a record that may be lost at its ends: an ectopic beat or a pause there stays in the labels.
MAX_LOST_FRACTION = 0.2

#: Names -> what they change, and some entities that this concerns.
REFUSED = {
    "time_warp time_stretch resized_crop": (
        "heart rate and intervals",
        "bradycardia, tachycardia, first_degree_av_block, wide_qrs, long_qt",
    ),
    "circular_shift permute cutmix": (
        "the distance of beats where ends meet",
        "atrial_fibrillation, premature_complex, sinus_pause, irregular_rhythm",
    ),
    "reverse": ("the order of the waves", "first_degree_av_block, left_bundle_branch_block, st_elevation"),
    "invert": ("the direction of the waves", "t_wave_inversion, st_elevation, abnormal_q_wave"),
    "lead_swap lead_shuffle lead_permutation": (
        "which lead shows a wave",
        "inferior_infarction, left_axis_deviation, lead_reversal",
    ),
    "lead_subset": (
        "which walls are seen, where lead_mask takes out few leads",
        "inferior_infarction, anterior_infarction, lateral_infarction",
    ),
    "vcg_rotation": (
        "the axis of the heart, where crosstalk does what misplaced electrodes do",
        "left_axis_deviation, right_axis_deviation, left_anterior_fascicular_block",
    ),
    "high_pass_filter baseline_shift": ("the level of ST", "st_elevation, st_depression, myocardial_injury"),
    "low_pass_filter frequency_mask": (
        "notches and pacing spikes",
        "fragmented_qrs, notched_p_wave, paced_rhythm",
    ),
    "time_mask pr_mask qrs_mask qt_mask": (
        "which waves are there",
        "absent_p_wave, sinus_pause, premature_complex",
    ),
    "mixup": ("whose ECG it is, so all labels", "normal_ecg, atrial_fibrillation"),
}


_Gain = Annotated[
    float,
    Field(ge=1),
    at_most(
        1.25,
        "from day to day the R wave in V5 varies by 20 % (McLaughlin 1998, Eur Heart J 19:342); more changes "
        "voltage criteria (lvh_voltage_criteria, low_qrs_voltage)",
    ),
]


class Change(Section):
    """One augmentation, drawn anew for every ECG."""

    p: float = Field(default=1.0, gt=0, le=1)
    """Share of the ECGs that are augmented."""


class Amplitude(Change):
    """Another amplitude."""

    factor: _Gain
    """Largest factor of all leads together; the smallest is its inverse (log-uniform)."""
    lead_factor: _Gain = 1.0
    """Largest further factor of each lead on its own."""


class Crosstalk(Change):
    """Misplaced electrodes: each lead picks up a little of the others."""

    sd: Annotated[
        float,
        Field(gt=0),
        at_most(
            0.08, "half of all axes would turn by more than 10 degrees (left_axis_deviation, normal_axis)"
        ),
    ]
    """Standard deviation of the share of every lead that is added to every lead, itself included."""


class BaselineWander(Change):
    """A slow wave in each lead, 0.1 to 0.6 Hz: breathing."""

    peak_mv: Annotated[
        float,
        Field(gt=0),
        at_most(0.2, "between PR segment and J point + 60 ms it could pass 0.1 mV (st_elevation)"),
    ]
    """Largest amplitude; drawn uniformly from zero for each lead."""


class Noise(Change):
    """Additive noise."""

    sd_mv: Annotated[
        float,
        Field(gt=0),
        at_most(0.1, "a P wave is about 0.1 mV high (absent_p_wave, atrial_fibrillation)"),
    ]
    """Largest standard deviation; a lead's is this times the square of a uniform number from 0 to 1."""


class GaussianNoise(Noise):
    """White noise, as of an amplifier."""


class MuscleNoise(Noise):
    """Bursts between 20 and 150 Hz, or the part of this band below half the sampling rate."""


class PowerlineNoise(Noise):
    """Hum of the mains, with another phase in each lead."""

    frequency_hz: float = Field(default=50.0, gt=0)
    """Below half of `shards.rate_hz`."""


class TimeShift(Change):
    """Shift in time; the end that becomes empty is zero, as in a recording that is too short."""

    max_s: float = Field(gt=0)
    """Largest shift to either side, at most a fifth of the record."""


class RandomCrop(Change):
    """A shorter recording: a window of it, moved to the beginning and padded with zeros as in shards."""

    cut_s: float = Field(gt=0)
    """Seconds cut off before and after the window together, at most a fifth of the record."""


class LeadMask(Change):
    """Disconnected electrodes: whole leads become zero."""

    leads: Annotated[
        int,
        Field(ge=1),
        at_most(
            3,
            "a wall is seen by two to four leads, so that a localised finding (septal_infarction, "
            "lateral_st_elevation) would often be without any",
        ),
    ]
    """Largest number of leads; drawn uniformly from one."""


class Augment(Section):
    """Augmentations in the order in which they are applied; those that are not named are not applied."""

    amplitude: Amplitude | None = None
    crosstalk: Crosstalk | None = None
    baseline_wander: BaselineWander | None = None
    gaussian_noise: GaussianNoise | None = None
    muscle_noise: MuscleNoise | None = None
    powerline_noise: PowerlineNoise | None = None
    # Padding stays exactly zero, so noise comes before.
    time_shift: TimeShift | None = None
    random_crop: RandomCrop | None = None
    lead_mask: LeadMask | None = None

    @model_validator(mode="before")
    @classmethod
    def _changes_no_label(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if reason := refused(name):
                raise ValueError(f"{name} is refused: {reason}. Choose from {', '.join(cls.model_fields)}")
        return values

    @property
    def changes(self) -> list[Change]:
        """The augmentations that are applied, in order."""
        return [change for name in type(self).model_fields if (change := getattr(self, name))]

    def require(self, rate_hz: float, duration_s: float) -> None:
        """Refuse what records of this sampling rate and length cannot hold.

        Raises:
            ValueError: naming the key.
        """
        hum, lost_s = self.powerline_noise, MAX_LOST_FRACTION * duration_s
        if hum and hum.frequency_hz >= rate_hz / 2:
            raise ValueError(
                f"training.augment.powerline_noise: {hum.frequency_hz:g} Hz is not below half of "
                f"shards.rate_hz={rate_hz:g}: leave it out, records of this rate hold no such hum"
            )
        lost = {
            "time_shift.max_s": self.time_shift.max_s if self.time_shift else 0.0,
            "random_crop.cut_s": self.random_crop.cut_s if self.random_crop else 0.0,
        }
        for key, seconds in lost.items():
            if seconds > lost_s:
                raise ValueError(
                    f"training.augment.{key}: more than {lost_s:g} of {duration_s:g} s is refused: it could "
                    "lose the one beat that a label is about (premature_complex, sinus_pause)"
                )


def refused(name: str) -> str:
    """Why an augmentation is refused, also as the library spells it (`RandomTimeWarp`); empty if not."""
    for names, (what, entities) in REFUSED.items():
        if _plain(name) in map(_plain, names.split()):
            return f"it changes {what} ({entities})"
    return ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "").removeprefix("random")
