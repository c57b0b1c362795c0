"""From heart vectors to leads: the Dower matrix, frontal angles and regions of the left ventricle.

Waves are drawn in the eight independent leads I, II, V1-V6; the four others follow from I and II.
Frank coordinates: x to the left, y to the feet, z to the back. Source of the matrix: Dower et al., 1980.
"""

from __future__ import annotations

import math

import numpy as np

#: (8, 3): I, II, V1..V6 from x, y, z.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

#: How strongly each region of the left ventricle is seen by I, II, V1..V6.
REGIONS = {
    "septal": np.array([0.0, -0.05, 1.0, 0.9, 0.35, 0.0, 0.0, 0.0]),
    "anteroseptal": np.array([0.0, -0.05, 0.75, 1.0, 0.95, 0.4, 0.05, 0.0]),
    "anterior": np.array([0.15, -0.05, 0.15, 0.7, 1.0, 1.0, 0.5, 0.15]),
    "anterolateral": np.array([0.5, 0.05, 0.0, 0.2, 0.6, 0.95, 1.0, 0.8]),
    "lateral": np.array([0.75, 0.1, -0.1, -0.05, 0.05, 0.4, 0.9, 1.0]),
    "inferior": np.array([-0.32, 0.7, -0.05, -0.1, -0.05, 0.0, 0.0, 0.1]),
    "posterior": np.array([0.0, 0.0, -0.8, -1.0, -0.7, -0.15, 0.1, 0.3]),
    "diffuse": np.array([0.6, 0.8, -0.1, 0.5, 0.8, 0.9, 0.9, 0.8]),
}


def heart_vector(frontal_angle_deg: float, frontal_mv: float, back_mv: float) -> np.ndarray:
    """The (x, y, z) that has lead I = A cos(angle), aVF = A sin(angle), and ``back_mv`` along z."""
    one = frontal_mv * math.cos(math.radians(frontal_angle_deg)) - 0.059 * back_mv
    foot = frontal_mv * math.sin(math.radians(frontal_angle_deg)) + 0.1615 * back_mv
    determinant = 0.632 * 1.1835 - 0.235 * 0.0805
    x = (1.1835 * one + 0.235 * foot) / determinant
    y = (0.0805 * one + 0.632 * foot) / determinant
    return np.array([x, y, back_mv])


def twelve_leads(eight: np.ndarray) -> np.ndarray:
    """(8, T) of I, II, V1-V6 to (12, T) in contract order."""
    one, two = eight[0], eight[1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limb), eight[2:]])
