"""What a beat looks like: P wave, QRS, ST segment and T wave as Gaussian pulses in the leads I, II, V1-V6.

A pulse is a row ``(centre_s, sd_s, *amplitude_mv[8])`` relative to the onset of the wave that it belongs to.
"""

from __future__ import annotations

import numpy as np

from supreme.records.simulator.findings import Findings
from supreme.records.simulator.leads import DOWER, REGIONS, heart_vector

Pulses = np.ndarray

#: The atria and the T wave are seen weaker by V2-V6 than one dipole on Dower's torso says; I, II, V1..V6.
_ATRIAL_GAIN = np.array([1.0, 0.85, 1.0, 0.7, 0.45, 0.4, 0.4, 0.45])
_T_GAIN = np.array([1.0, 1.0, 1.0, 1.2, 0.7, 0.7, 0.75, 0.85])


def _placed(rng: np.random.Generator) -> np.ndarray:
    """Dower's matrix for another torso and other electrodes, with V3 and V4 nearer to what is recorded."""
    gain = np.array([1, 1, 1, 1, 0.85, 0.82, 0.92, 1]) * rng.lognormal(0, [0.03] * 2 + [0.16] * 6)
    return DOWER * gain[:, None] * (1 + rng.normal(0, 0.14, DOWER.shape)) + rng.normal(0, 0.04, DOWER.shape)


def _flatter(factor: float) -> np.ndarray:
    """A T wave loses its height in the limb leads and V4-V6; V1-V3 keep most of theirs."""
    return factor + (1 - factor) * np.array([0, 0, 0.8, 0.65, 0.4, 0.1, 0, 0])


class Heart:
    """The waves of one patient, before leads are perturbed and noise is added."""

    def __init__(self, found: Findings, rr_s: float, rng: np.random.Generator) -> None:
        self.found, self.rng = found, rng
        #: Electrode placement and body differ from Dower's torso.
        self.projection = _placed(rng)
        self.axis_deg = self._axis()
        self.qrs_s = self._qrs_duration()
        self.qt_s = self._qt(rr_s)
        self.size = self._voltage()
        self.p = self._p_wave(heart_vector(rng.normal(55, 15), 1, 0), found)
        self.ectopic_p = self._p_wave(heart_vector(rng.choice([-70, -20, 100, 150, 30]), 1, 0), None)
        self.retrograde_p = self._p_wave(heart_vector(rng.normal(-90, 15), 1, 0), None)
        main = self._qrs()
        self.qrs = np.concatenate([main, self._st_t(main)])
        self.aberrant = self._wide_beat()

    def _lead(self, vector: np.ndarray) -> np.ndarray:
        return self.projection @ vector

    def _axis(self) -> float:
        found, rng = self.found, self.rng
        if found.has("left_anterior_fascicular_block"):
            return float(rng.uniform(-80, -45))
        if found.has("left_posterior_fascicular_block"):
            return float(rng.uniform(100, 140))
        if found.has("left_axis_deviation"):
            return float(-32 - 35 * found.of("left_axis_deviation"))
        if found.has("right_axis_deviation", "right_ventricular_hypertrophy"):
            return float(95 + 45 * max(found.of("right_axis_deviation"), 0.3))
        shift = (found.age - 45) * 0.8
        shift += 12 * found.has("left_ventricular_hypertrophy") + 15 * found.has("inferior_infarction")
        return float(np.clip(rng.normal(52 - shift, 25), -29, 90))

    def _qrs_duration(self) -> float:
        found, rng = self.found, self.rng
        wide = {
            "left_bundle_branch_block": (0.125, 0.175),
            "right_bundle_branch_block": (0.120, 0.160),
            "intraventricular_conduction_delay": (0.114, 0.150),
            "ventricular_preexcitation": (0.110, 0.150),
            "incomplete_left_bundle_branch_block": (0.104, 0.119),
            "incomplete_right_bundle_branch_block": (0.096, 0.116),
            "left_ventricular_hypertrophy": (0.088, 0.112),
        }
        for name, limits in wide.items():
            if found.has(name):
                return float(limits[0] + (limits[1] - limits[0]) * rng.beta(1.3, 1.6))
        return float(np.clip(rng.normal(0.090, 0.008), 0.072, 0.108))

    def _qt(self, rr_s: float) -> float:
        """Framingham correction: QT = QTc - 0.154 (1 - RR)."""
        found, rng = self.found, self.rng
        corrected = rng.normal(0.405 if found.sex == "M" else 0.415, 0.014)
        corrected = float(np.clip(corrected, 0.37, 0.445)) + 0.6 * max(0.0, self.qrs_s - 0.105)
        if found.has("long_qt"):
            corrected = 0.475 + 0.095 * found.of("long_qt")
        if found.has("short_qt"):
            corrected = 0.345 - 0.035 * found.of("short_qt")
        return float(max(corrected - 0.154 * (1 - min(rr_s, 1.4)), self.qrs_s + 0.14))

    def _voltage(self) -> float:
        found, rng = self.found, self.rng
        if found.has("low_qrs_voltage"):
            return float(0.42 - 0.2 * found.of("low_qrs_voltage"))
        if found.has("high_qrs_voltage"):
            return float(1.55 + 0.6 * found.of("high_qrs_voltage"))
        return float(np.clip(rng.lognormal(0.02, 0.24), 0.62, 1.5))

    def _p_wave(self, direction: np.ndarray, found: Findings | None) -> Pulses:
        """Right atrium first (forward, to the feet), left atrium after it (left, to the back)."""
        rng = self.rng
        size, width_s, delay_s, back, right_gain = rng.uniform(0.07, 0.15), 0.021, 0.030, 0.05, 1.0
        if found is not None and found.has("left_atrial_enlargement"):
            strength = 0.4 + 0.6 * found.of("left_atrial_enlargement")
            width_s, delay_s, back = (
                0.023 + 0.003 * strength,
                0.040 + 0.028 * strength,
                0.08 + 0.12 * strength,
            )
            size *= 1 + 0.3 * strength
        if found is not None and found.has("right_atrial_enlargement"):
            right_gain = 1.9 + 1.2 * found.of("right_atrial_enlargement")
        seen = self.projection * _ATRIAL_GAIN[:, None]
        right = direction * size * 0.75 * right_gain + np.array([0, 0.02 * right_gain, -0.05 * right_gain])
        left = direction * size * 0.75 + np.array([0.03, 0, back * rng.uniform(0.7, 1.3)])
        return np.stack(
            [
                np.r_[0.030, width_s, seen @ right],
                np.r_[0.030 + delay_s, width_s * 1.1, seen @ left],
            ]
        )

    def _qrs(self) -> Pulses:
        found, rng, duration = self.found, self.rng, self.qrs_s
        if found.has("left_bundle_branch_block", "incomplete_left_bundle_branch_block"):
            return self._left_bundle()
        back = rng.normal(0.0, 0.18)
        late_back = rng.uniform(0.50, 1.15)
        forward = rng.uniform(0.14, 0.42)
        size = self.size
        if found.has("left_ventricular_hypertrophy"):
            gain = 0.30 + 0.75 * found.of("left_ventricular_hypertrophy")
            size *= 1 + 0.75 * gain
            back += 0.25 * gain
            late_back += 0.45 * gain
        if found.has("right_ventricular_hypertrophy"):
            back = -0.35 - 0.55 * found.of("right_ventricular_hypertrophy")
            late_back *= 0.3
        if found.has("poor_r_wave_progression"):
            forward, back = 0.03, back + 0.35 + 0.35 * found.of("poor_r_wave_progression")
        axis = self.axis_deg
        fascicle = 0.0
        if found.has("left_anterior_fascicular_block"):
            fascicle = 1.0
        if found.has("left_posterior_fascicular_block"):
            fascicle = -1.0
        # A fascicular block turns the first vector away from the late one: r then S, or q then R.
        first_angle = {0.0: axis + rng.choice([150, -150]), 1.0: 95.0, -1.0: -45.0}[fascicle]
        first_size = rng.uniform(0.03, 0.16) if not fascicle else rng.uniform(0.18, 0.32)
        septal = heart_vector(first_angle, first_size, -forward) * size
        main = heart_vector(axis, rng.uniform(0.80, 1.20), back) * size
        basal = heart_vector(axis - 100 + rng.normal(0, 45), rng.uniform(0.08, 0.30), late_back) * size
        narrow = duration * (1.0 if not found.has("intraventricular_conduction_delay") else 1.05)
        pulses = [
            np.r_[0.22 * narrow, 0.105 * narrow, self._lead(septal)],
            np.r_[0.48 * narrow, 0.135 * narrow, self._lead(main)],
            np.r_[0.76 * narrow, 0.12 * narrow, self._lead(basal)],
        ]
        if found.has("right_bundle_branch_block", "incomplete_right_bundle_branch_block"):
            pulses = self._right_bundle(septal, main, basal)
        if found.has("intraventricular_conduction_delay"):
            notch = heart_vector(axis + rng.normal(0, 50), rng.uniform(0.2, 0.5), rng.normal(0.1, 0.3)) * size
            pulses.append(np.r_[0.70 * duration, 0.10 * duration, self._lead(notch)])
        if found.has("ventricular_preexcitation"):
            delta = (
                heart_vector(axis + rng.normal(0, 70), rng.uniform(0.2, 0.45), rng.normal(-0.15, 0.35)) * size
            )
            pulses.append(np.r_[0.14 * duration, 0.15 * duration, self._lead(delta)])
        made = np.stack(pulses)
        self._infarct(made)
        if not found.has(*("right_bundle_branch_block", "ventricular_preexcitation")) and rng.random() < 0.25:
            fragment = self.projection @ (rng.normal(0, 0.10, 3) * size)
            made = np.concatenate(
                [made, np.r_[rng.uniform(0.3, 0.9) * duration, 0.07 * duration, fragment][None]]
            )
        return made

    def _right_bundle(self, septal: np.ndarray, main: np.ndarray, basal: np.ndarray) -> list[np.ndarray]:
        """Normal first 80 ms, then slowly to the right and the front: rsR' in V1, broad S in I and V6."""
        complete = self.found.has("right_bundle_branch_block")
        strength = self.found.of("right_bundle_branch_block") + self.found.of(
            "incomplete_right_bundle_branch_block"
        )
        late = 0.75 + 0.5 * strength if complete else 0.12 + 0.30 * strength
        terminal = np.array([-0.45, self.rng.normal(0.05, 0.15), -0.60]) * late * np.clip(self.size, 0.6, 1.3)
        duration = self.qrs_s
        early = 0.078 / duration
        width = 0.13 if complete else 0.11
        return [
            np.r_[0.22 * 0.9 * early * duration, 0.010, self._lead(septal)],
            np.r_[0.50 * early * duration, 0.012, self._lead(main)],
            np.r_[0.80 * early * duration, 0.010, self._lead(basal * (0.4 if complete else 0.8))],
            np.r_[0.80 * duration, width * duration, self._lead(terminal)],
        ]

    def _left_bundle(self) -> Pulses:
        """Slow, notched, to the left and the back; no septal q, QS or rS in V1-V3."""
        rng, duration = self.rng, self.qrs_s
        complete = self.found.has("left_bundle_branch_block")
        axis = rng.uniform(-50, 65)
        size = self.size * (rng.uniform(0.9, 1.35) if complete else rng.uniform(0.85, 1.1))
        back = rng.uniform(0.75, 1.25)
        first = heart_vector(axis + 20, 0.45, 0.35 * back - 0.15 * rng.random()) * size
        middle = heart_vector(axis, 0.75, 0.9 * back) * size
        last = heart_vector(axis - 10, 0.65 if complete else 0.3, 0.55 * back) * size
        return np.stack(
            [
                np.r_[0.25 * duration, 0.12 * duration, self._lead(first)],
                np.r_[0.46 * duration, 0.13 * duration, self._lead(middle)],
                np.r_[0.74 * duration, 0.12 * duration, self._lead(last)],
            ]
        )

    def _infarct(self, qrs: Pulses) -> None:
        """Lost forces: a Q wave and a smaller R in the leads that look at the wall (in place)."""
        for name, region in self.found.region.items():
            if not name.endswith("_infarction"):
                continue
            seen = REGIONS[region] * (1 + self.rng.normal(0, 0.15, 8))
            depth = 0.3 + 0.7 * self.found.of(name)
            if self.found.stage == "acute":
                depth *= self.rng.uniform(0.1, 0.9)
            loss = np.clip(np.abs(seen) * depth, 0, 1)
            # The first pulse turns negative in that wall's leads, the main one shrinks where it was upright.
            qrs[0, 2:] = qrs[0, 2:] * (1 - loss) - 0.38 * depth * seen * np.clip(self.size, 0.6, 1.3)
            qrs[0, 1] *= 1 + 0.45 * depth
            upright = np.where(np.sign(qrs[1, 2:]) == np.sign(seen), 1.0, 0.0)
            qrs[1, 2:] *= 1 - 0.6 * loss * upright
            if region in ("septal", "anteroseptal", "anterior"):
                qrs[1, 2:] -= 0.35 * depth * np.clip(seen, 0, 1) * self.size

    def _st_t(self, qrs: Pulses) -> Pulses:
        found, rng = self.found, self.rng
        area = (qrs[:, 2:] * qrs[:, 1:2]).sum(0) / 0.012
        broad = found.has(
            "left_bundle_branch_block", "ventricular_preexcitation", "incomplete_left_bundle_branch_block"
        )
        t = _T_GAIN * self._lead(
            heart_vector(rng.normal(40, 16), rng.uniform(0.16, 0.38), rng.uniform(-0.42, -0.04))
        )
        st = np.zeros(8) + self._lead(heart_vector(45, rng.normal(0.008, 0.014), rng.normal(-0.06, 0.035)))
        if broad:
            amount = 1.0 if not found.has("incomplete_left_bundle_branch_block") else 0.45
            t = (1 - 0.8 * amount) * t - amount * rng.uniform(0.09, 0.16) * area
            st = st - amount * rng.uniform(0.025, 0.06) * area
        if found.has("right_bundle_branch_block", "incomplete_right_bundle_branch_block"):
            late = 0.55 if found.has("right_bundle_branch_block") else 0.3
            t = t - late * rng.uniform(0.4, 1.0) * qrs[3, 2:]
            st = st - 0.2 * late * rng.uniform(0.5, 1.0) * qrs[3, 2:]
        if found.has("left_ventricular_strain"):
            strength = 0.3 + 0.7 * found.of("left_ventricular_strain")
            t = (
                t * (1 - strength)
                - strength * 0.28 * REGIONS["lateral"]
                + strength * 0.15 * REGIONS["septal"]
            )
            st = st - strength * 0.10 * REGIONS["lateral"] + strength * 0.08 * REGIONS["septal"]
        if found.has("right_ventricular_hypertrophy"):
            t = t - found.of("right_ventricular_hypertrophy") * 0.32 * REGIONS["septal"]
        t, st = self._wall_changes(t, st)
        if found.has("early_repolarization"):
            up = REGIONS["diffuse"] * np.array([0.5, 0.6, 0.2, 1.2, 1.2, 1.0, 0.8, 0.6])
            st = st + up * (0.05 + 0.10 * found.of("early_repolarization"))
            t = t * (1.2 + 0.4 * found.of("early_repolarization"))
        return self._t_pulses(t, st)

    def _wall_changes(self, t: np.ndarray, st: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Infarction by stage, ischaemia, and the unspecific changes of ST and T."""
        found, rng = self.found, self.rng
        for name, region in found.region.items():
            seen, strength = REGIONS[region] * (1 + rng.normal(0, 0.15, 8)), found.of(name)
            if name.endswith("_infarction"):
                up, down = {"acute": (0.12, 0.05), "recent": (0.02, 0.30), "old": (0.0, 0.10)}[found.stage]
                opposite = -0.35 * REGIONS["lateral"] if region == "inferior" else -0.25 * REGIONS["inferior"]
                st = st + (up + 0.25 * up / 0.12 * strength) * (seen + opposite * (found.stage == "acute"))
                if found.stage == "acute" and rng.random() < 0.5:
                    t = t + 0.35 * strength * seen
                else:
                    t = t * (1 - np.clip(np.abs(seen), 0, 1) * min(1.0, 2 * down)) - down * strength * seen
            if name == "t_wave_inversion":
                t = t * (1 - np.clip(np.abs(seen), 0, 1)) - (0.10 + 0.35 * strength) * seen
            if name == "st_depression":
                st = st - (0.06 + 0.16 * strength) * seen
                t = t * rng.uniform(0.3, 1.0)
            if name == "myocardial_ischemia":
                st = st - (0.04 + 0.10 * strength) * seen
                t = t * (1 - np.clip(np.abs(seen), 0, 1)) - (0.06 + 0.25 * strength) * seen
            if name == "st_elevation":
                st = st + (0.08 + 0.18 * strength) * seen
                t = t + 0.15 * strength * seen
            if name == "nonspecific_st_t_abnormality":
                t = t * _flatter(rng.uniform(0.1, 0.45)) - 0.05 * strength * seen
                st = st - rng.uniform(0.0, 0.05) * seen
        if found.has("low_t_wave"):
            t = t * _flatter(0.30 - 0.25 * found.of("low_t_wave"))
        if found.has("tall_t_wave"):
            t = t * (2.2 + 1.6 * found.of("tall_t_wave"))
        return t, st

    def _t_pulses(self, t: np.ndarray, st: np.ndarray) -> Pulses:
        """A T wave that rises slower than it falls, a plateau for ST, sometimes a U wave."""
        rng, end = self.rng, self.qt_s
        sd = float(np.clip(rng.normal(0.155, 0.02), 0.11, 0.2)) * (end - self.qrs_s)
        if self.found.has("tall_t_wave"):
            sd *= 0.8
        peak = end - 1.9 * sd
        middle = (self.qrs_s + peak) / 2
        plateau = max((peak - self.qrs_s) / 2.6, 0.018)
        pulses = [
            np.r_[peak - 0.6 * sd, 1.15 * sd, t * 0.55],
            np.r_[peak, 0.80 * sd, t * 0.60],
            np.r_[middle - 0.5 * plateau, plateau * 0.8, st * 0.7],
            np.r_[middle + 0.6 * plateau, plateau, st * 0.7],
        ]
        if rng.random() < 0.2:
            pulses.append(np.r_[end + 0.07, 0.035, np.abs(t) * 0.12])
        return np.stack(pulses)

    def _wide_beat(self) -> Pulses:
        """A beat from the ventricles (ectopic, escape or paced): wide, the T wave points the other way."""
        rng = self.rng
        paced = self.found.rhythm == "paced_rhythm"
        duration = rng.uniform(0.13, 0.185)
        if paced:
            angle, back = (
                (rng.uniform(-95, -45) if rng.random() < 0.8 else rng.uniform(40, 90)),
                rng.uniform(0.4, 1.2),
            )
        else:
            angle, back = (
                rng.uniform(-130, 150),
                rng.choice([-1.0, 1.0], p=[0.5, 0.5]) * rng.uniform(0.3, 1.3),
            )
        size = rng.uniform(0.8, 1.5)
        first = heart_vector(angle, 0.9, back) * size
        turn = rng.normal(0, 45) if not paced else rng.normal(0, 20)
        last = heart_vector(angle + turn, rng.uniform(0.2, 0.8), back * rng.uniform(-0.2, 0.8)) * size
        qrs = np.stack(
            [
                np.r_[0.34 * duration, 0.16 * duration, self._lead(first)],
                np.r_[0.70 * duration, 0.14 * duration, self._lead(last)],
            ]
        )
        area = (qrs[:, 2:] * qrs[:, 1:2]).sum(0) / 0.012
        sd = rng.uniform(0.045, 0.065)
        peak = max(self.qt_s, duration + 0.2) + 0.02 - 1.6 * sd
        st_t = np.stack(
            [
                np.r_[peak, sd, -rng.uniform(0.09, 0.17) * area],
                np.r_[(duration + peak) / 2, 0.05, -rng.uniform(0.02, 0.05) * area],
            ]
        )
        return np.concatenate([qrs, st_t])
