"""Benchmarks on the page, in CSV, LaTeX and MLflow: every number is the result's, every name is text."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import planted_results as planted
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme import tracking
from supreme.evaluation import comparison_tables, latex, result_rows, result_tables, tracked_numbers
from supreme.evaluation.compare import ClassComparison, Comparison
from supreme.evaluation.leaderboard import Leaderboard, LeaderboardRow
from supreme.evaluation.model_comparison import DatasetVerdict, ModelComparison, ModelPair
from supreme.evaluation.results import EvaluationResult
from supreme.reporting import benchmarks_page, page
from supreme.settings.tracking import Tracking
from supreme.tracking.logged import safe_name

pytestmark = pytest.mark.unit

NO_NUMBER = re.compile(r"\b(?:nan|NaN|None|inf)\b")


class Cells(HTMLParser):
    """The text of each row of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


def render(result: EvaluationResult) -> str:
    return page.render(result, curves={}, training=[], plates=[], origin={})


def read_csv(result: EvaluationResult) -> list[dict[str, str]]:
    text = result_rows.csv_text(result_rows.rows(result))
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


# ---- the page


def test_numbers_on_the_page_are_those_of_the_result() -> None:
    text = render(planted.evaluation())
    rows = {row[0]: row[1:] for row in Cells(text).rows}
    [superclass] = [row for name, row in rows.items() if name.startswith("ptbxl-superclass")]
    assert superclass == ["0.765", "0.72–0.82", "3", "0.457", "0.722", "0.633", "0.822"]
    [absent] = [name for name in rows if name.startswith("csn-legacy")]
    assert absent.endswith("0 of 2,158 records of the test split")
    assert rows[absent] == ["–", "", "–", "–", "–", "–", "–"]
    assert rows["CD conduction disturbance"] == [
        *(
            "56",
            "43",
            "0.812",
            "0.71–0.91",
            "0.43 (0.12)",
            "0.57",
            "0.75–0.81",
            "relation",
            "long QT interval (0.75)",
        )
    ]
    assert rows["Model"] == ["0.611", "0.722"]
    assert rows["Random encoder"] == ["–", "0.633"]
    assert planted.F1_NAME.replace("'", "&#39;") in text
    assert "463 of 21,388 records of the test split, 21 left out: seen in training" in text
    assert "Codes in no column, never counted as negative: 12345 (17)" in text
    assert "Mean of six sets: none. No number of csn." in text
    assert "Mean of one set: <b>0.7654</b>" in text
    assert not NO_NUMBER.search(" ".join(cell for row in Cells(text).rows for cell in row))


@pytest.mark.parametrize(
    ("invariant", "words"), [(True, "does not depend"), (False, "An answer depends on the other queries")]
)
def test_the_page_says_whether_answers_depend_on_other_queries(invariant: bool, words: str) -> None:
    text = render(planted.evaluation(invariant=invariant))
    assert words in text
    assert ("0.31" in text) == (not invariant)


def test_names_of_benchmarks_classes_and_files_are_text() -> None:
    text = render(planted.evaluation(planted.HOSTILE))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 8


def test_a_page_without_anything_is_readable() -> None:
    result = planted.empty()
    assert "<h2>Benchmarks</h2>" not in render(result)
    protocol = planted.evaluation().protocols["merl"]
    nothing = protocol.model_copy(update={"benchmarks": {}, "means": ()})
    absent = protocol.model_copy(update={"benchmarks": {"csn-legacy": planted.bare()}})
    text = render(result.model_copy(update={"protocols": {"one": nothing, "two": absent}}))
    assert "no benchmark" in text
    assert "0 of 2,158 records" in text
    assert not NO_NUMBER.search(re.sub(r"<style>.*?</style>|<[^>]*>", "", text, flags=re.S))


def test_points_of_the_distance_figure_are_classes_that_count() -> None:
    result = planted.evaluation()
    [one, _] = result.protocols["merl"].benchmarks.values()
    assert benchmarks_page._points(one) == [(0.25, 0.8125, "relation")]
    ElementTree.fromstring(benchmarks_page.distances(result))
    assert benchmarks_page.distances(planted.empty()) == ""


# ---- CSV


def test_the_csv_holds_every_number_to_the_last_digit() -> None:
    table = read_csv(planted.evaluation(planted.HOSTILE))
    by_class = [row for row in table if row["class"] == "CD" and row["method"] == "zero-shot"]
    main, other = sorted(by_class, key=lambda row: row["prompts"] != "phrasings")
    assert (main["auroc"], main["auprc"], main["prevalence"]) == ("0.8125", "0.4321", "0.1234")
    assert (main["protocol"], main["benchmark"]) == (
        f"merl{planted.HOSTILE} 1",
        f"ptbxl-superclass{planted.HOSTILE}",
    )
    assert (main["seen_by_relation"], main["nearest"], main["cosine"]) == ("long_qt", "long_qt", "0.75")
    assert (other["prompts"], other["auroc"], other["auprc"]) == (f"mine{planted.HOSTILE}", "0.75", "")
    probes = {
        (r["method"], r["fraction"]): r["auroc"] for r in table if r["group"] == "all" and r["fraction"]
    }
    assert probes[result_rows.PROBE, "1.0"] == "0.7222"
    assert probes[result_rows.HANDMADE, "0.01"] == "0.5111"
    assert probes[result_rows.RANDOM, "0.01"] == ""
    [absent] = [row for row in table if row["benchmark"] == "csn-legacy"]
    assert (absent["auroc"], absent["note"]) == ("", "0 of 2,158 records of the test split")
    [mean] = [row for row in table if row["group"] == "mean of one set"]
    assert mean["auroc"] == "0.76543"
    assert not any(NO_NUMBER.fullmatch(cell) for row in table for cell in row.values())


def test_the_csv_of_nothing_is_its_header() -> None:
    assert read_csv(planted.empty()) == []
    row = result_rows.ResultRow("m", "d", "b", "1", "p", "s", auroc=float("nan"))
    assert "nan" not in result_rows.csv_text([row])


# ---- LaTeX


@given(st.text(st.sampled_from("\\&%$#_{}~^<> \na1") | st.characters()))
def test_escaped_text_is_set_as_it_is(text: str) -> None:
    escaped = latex.escape(text)
    back = re.sub(r"\\text(\w+)\{\}", lambda m: signs[m[1]], escaped)
    assert re.sub(r"\\([&%$#_{}])", r"\1", back) == " ".join(text.split()).replace("\\", "BACKSLASH")
    assert not re.search(r"(?<!\\)[&%$#_]|[\n~^<>]", escaped)


signs = {
    "backslash": "BACKSLASH",
    "asciitilde": "~",
    "asciicircum": "^",
    "less": "<",
    "greater": ">",
}


def latex_rows(text: str) -> list[list[str]]:
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r" \\")]
    return [re.split(r" (?<!\\)& ", line) for line in lines]


def test_latex_tables_hold_the_numbers_and_no_gaps() -> None:
    text = result_tables.latex_text(planted.evaluation())
    rows = {row[0]: row[1:] for row in latex_rows(text)}
    assert rows["ptbxl-superclass"] == [
        *("1,234", "3", "0.765 [0.715, 0.815]", "0.457", "0.611", "0.722", "0.633", "0.822")
    ]
    assert rows["csn-legacy"] == ["0", *["--"] * 7]
    assert rows["Mean of one set"][2] == "0.765"
    assert rows["Mean of six sets"][2] == "--"
    assert rows["ptbxl"] == ["1,234", "1", "0.654 [0.604, 0.704]", *["0.554 [0.504, 0.604]"] * 2]
    assert "F1: F1 at the test split's best threshold." in text
    assert not NO_NUMBER.search(text)


@pytest.mark.parametrize(
    "result", [planted.evaluation(planted.HOSTILE), planted.empty()], ids=["odd", "empty"]
)
def test_latex_stays_balanced_whatever_the_names_are(result: EvaluationResult) -> None:
    text = result_tables.latex_text(result)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1 + len(result.protocols)
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(re.match(r"\{(l(?:r*))\}", table)[1])  # type: ignore[index]
        assert {len(row) for row in latex_rows(table)} == {columns}


def test_a_ragged_table_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells in a table of 2 columns"):
        latex.LatexTable("", ("a", "b"), [[["x"]]]).render()


# ---- comparison


def comparison() -> ModelComparison:
    row = ClassComparison(
        condition="x", name="a, b", auroc_a=0.9, auroc_b=0.8, difference=0.1, low=0.05, high=0.15,
        p_value=0.0004, positive_patients=9,
    )  # fmt: skip
    one = Comparison(
        dataset="strict: my_set", auroc_a=0.8125, auroc_b=0.7525, difference=0.06, low=-0.01, high=0.13,
        standard_error=0.02, p_value=0.0004, share_above=None, replicates=0, classes=1, records=20,
        patients=10, smallest_difference=0.05, patients_needed={}, by_class=(row,),
    )  # fmt: skip
    rows = [
        LeaderboardRow(model=name, auroc=auroc, low=None, high=None, groups=(group,))
        for name, auroc, group in (("models:/a_1/2", 0.8125, 0), ("b%", 0.7525, 1))
    ]
    board = Leaderboard(
        dataset="strict: my_set", records=20, patients=10, classes=1, left_out=(), rows=tuple(rows)
    )
    judged = DatasetVerdict(verdict="cannot tell", sentence="", comparison=one)
    pair = ModelPair(a="models:/a_1/2", b="b%", datasets=(judged,))
    return ModelComparison(
        models=("models:/a_1/2", "b%"), margin=0.02, min_positives=5, bootstrap=0, pairs=(pair,),
        leaderboards=(board,), published=(),
    )  # fmt: skip


def test_a_comparison_is_written_as_csv_and_latex() -> None:
    text = comparison_tables.csv_text(comparison())
    mean, row = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert (mean["class"], mean["difference"], mean["verdict"]) == ("", "0.06", "cannot tell")
    assert (row["name"], row["auroc_a"], row["positive_patients"], row["verdict"]) == ("a, b", "0.9", "9", "")
    tables = latex_rows(comparison_tables.latex_text(comparison()))
    assert tables == [
        ["Benchmark", "Classes", r"\texttt{models:/a\_1/2}", r"\texttt{b\%}"],
        [r"strict: my\_set", "1", r"0.812\textsuperscript{a}", r"0.752\textsuperscript{b}"],
        ["Benchmark", "A", "B", "Difference", "p", "A is"],
        [
            *(r"strict: my\_set", "0.812", "0.752", "+0.060 [$-$0.010, +0.130]"),
            *(r"\textless{} 0.001", "cannot tell"),
        ],
    ]


# ---- MLflow


def test_numbers_and_files_go_to_mlflow_benchmark_by_benchmark(tmp_path: Path) -> None:
    result = planted.evaluation()
    uri = tmp_path / "results.csv"
    uri.write_text("a,b\n")
    run = tracking.start_or_resume(
        tracking.open_store(Tracking(), str(tmp_path)), "tests", str(tmp_path / "stage"), "r", {}
    )
    for _ in range(2):
        tracked_numbers.log(run, result, [str(uri)])
    data = run.client.get_run(run.run_id).data
    expected = {
        "evaluation/ptbxl/macro_auroc_headline": 0.6543,
        "evaluation/merl/ptbxl-superclass/macro_auroc_headline": 0.7654,
        "evaluation/merl/ptbxl-superclass/f1_at_the_test_split_s_best_threshold": 0.4567,
        "evaluation/merl/ptbxl-superclass/probe_1_percent": 0.6111,
        "evaluation/merl/ptbxl-superclass/handmade_probe_100_percent": 0.8222,
        "evaluation/merl/mean of one set": 0.76543,
    }
    assert expected.items() <= data.metrics.items()
    assert not any("csn" in name or "six sets" in name for name in data.metrics)
    assert [m.step for m in run.client.get_metric_history(run.run_id, next(iter(expected)))] == [0, 1]
    digest = hashlib.sha256(uri.read_bytes()).hexdigest()
    assert data.tags["supreme.evaluation.results.csv.sha256"] == digest
    assert [item.path for item in run.client.list_artifacts(run.run_id, "evaluation")] == [
        "evaluation/results.csv"
    ]
    names = [one.name for one in tracked_numbers.measurements(planted.evaluation(planted.HOSTILE))]
    assert len({safe_name(name) for name in names}) == len(names)
