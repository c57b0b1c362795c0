"""Plates are to scale, figures are well-formed SVG without references to the outside."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from supreme.ecg import LEADS
from supreme.evaluation.class_results import CalibrationBin, CalibrationCurve
from supreme.reporting import figures, plates
from supreme.reporting.figures import RocCurve

pytestmark = pytest.mark.unit


def lines(figure: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """CalibrationCurve pulses and traces in the order in which they were drawn, in millimetres."""
    return [line.get_data() for line in figure.axes[0].lines]


def test_a_plate_is_to_scale_on_paper() -> None:
    signal_mv = np.zeros((12, 1000))
    signal_mv[LEADS.index("II"), 400] = 1.0
    figure = plates.plate(signal_mv, 100)
    axes = figure.axes[0]
    assert figure.get_size_inches() * 25.4 == pytest.approx([axes.get_xlim()[1], axes.get_ylim()[1]])
    assert axes.get_position().bounds == (0, 0, 1, 1)
    pulse_x, pulse_y = lines(figure)[0]
    assert np.ptp(pulse_y) == 10
    assert pulse_x[4] - pulse_x[1] == 5
    strip_x, strip_y = lines(figure)[-1]
    assert strip_x[400] - strip_x[0] == pytest.approx(100)
    assert strip_y[400] - strip_y[0] == pytest.approx(10)


def test_each_lead_stands_in_its_place() -> None:
    signal_mv = np.zeros((12, 1000))
    for lead in range(12):
        signal_mv[lead, 50::250] = (lead + 1) / 10
    traces = [line for line in lines(plates.plate(signal_mv, 100)) if len(line[0]) > 100]
    heights_mv = [round(float(np.ptp(y)) / 10, 3) for _, y in traces]
    rows = [("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",)]
    assert heights_mv == [(LEADS.index(lead) + 1) / 10 for row in rows for lead in row]
    starts_mm = [x[0] for x, _ in traces[:4]]
    assert starts_mm == pytest.approx([10, 72.5, 135, 197.5])


def test_a_tall_deflection_gets_room_and_is_not_cut() -> None:
    signal_mv = np.zeros((12, 1000))
    signal_mv[6, 550] = 6.0
    signal_mv[6, 560] = -4.0
    figure = plates.plate(signal_mv, 100)
    low, high = figure.axes[0].get_ylim()
    drawn = np.concatenate([y for _, y in lines(figure)])
    assert low <= drawn.min()
    assert drawn.max() <= high
    assert figure.get_figheight() > plates.plate(np.zeros((12, 1000)), 100).get_figheight()
    everywhere = plates.plate(np.tile(np.where(np.arange(1000) % 50 < 5, 3.0, -1.5), (12, 1)), 100)
    assert everywhere.get_figheight() * 25.4 < 190


@pytest.mark.parametrize(("samples", "drawn"), [(600, 600), (0, 0), (1500, 1000)])
def test_a_short_record_is_drawn_as_it_is_and_ten_seconds_at_most(samples: int, drawn: int) -> None:
    assert len(lines(plates.plate(np.zeros((12, samples)), 100))[-1][0]) == drawn


def test_figures_are_svg_without_outside_references() -> None:
    rates = np.array([0, 0.1, 1]), np.array([0, 0.8, 1])
    history = [
        {"samples_seen": n, "loss": 1 / n, "curve": [{"samples_seen": n, "step_loss": 2 / n}]} for n in (1, 2)
    ]
    part = CalibrationCurve(ece=0.1, pairs=10, bins=(CalibrationBin(predicted=0.2, observed=0.3, count=10),))
    names = ("a <long> name of a condition & more", "$$", "$\\frac{1}$ [x], {y}")
    curves = [RocCurve(name, *rates, 0.85, seen) for name in names for seen in (True, False)]
    svgs = [
        *figures.roc_rows([*curves, *curves[:2]]),
        figures.calibration([(name, part) for name in names]),
        figures.training(history),
        figures.training([{"samples_seen": 1}]),
    ]
    for text in svgs:
        root = ElementTree.fromstring(text)
        assert root.get("viewBox")
        assert root.get("width") is None
        references = [value for node in root.iter() for name, value in node.items() if name.endswith("href")]
        assert all(value.startswith("#") for value in references)
    assert len(svgs) == 5
    assert figures.roc_rows([]) == []


def test_the_same_figure_gives_the_same_bytes() -> None:
    history = [{"samples_seen": n, "loss": 1 / n} for n in (1, 2, 3)]
    assert figures.training(history) == figures.training(history)


def test_thinning_keeps_the_ends() -> None:
    x, y = figures.thinned(list(range(5000)), list(range(5000)))
    assert len(x) == 200
    assert (x[0], x[-1], y[-1]) == (0, 4999, 4999)
    assert len(figures.thinned([0, 1], [0, 1])[0]) == 2
