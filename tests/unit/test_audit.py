"""The audit: figures that can be counted by hand, differences of versions, a page that is safe to open."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from supreme import config, storage
from supreme.reporting import audit_page
from supreme.reports import comparison, stage
from supreme.reports.audit_figures import Audit
from supreme.reports.extract import Mention
from supreme.reports.statement_table import Statement

pytestmark = pytest.mark.unit

HOSTILE = (
    "<svg/onload=alert(1)><object data=x></object><img src=https://evil.example/x onerror='x()'>"
    ' "quoted" & {{ 7*7 }} LVH'
)
REPORTS = [
    ("train", "Sinus rhythm\nPossible inferior infarct", ("SR", "IMI")),
    ("train", "Sinus rhythm\nPossible inferior infarct", ()),
    ("train", "Sinus rhythm\nInferior infarct, probably old", ("SR",)),
    ("train", "Atrial fibrillation\nNo LVH\nhalf a word", ("AFIB", "IMI", "<b>")),
    ("validation", "sinus rhythm", ("AFIB",)),
    ("test", HOSTILE, ()),
    ("test", "", ("SR",)),
]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[config.Recipe, list[str]]:
    root = tmp_path_factory.mktemp("audit")
    return make(root, "a"), [str(root / "a" / "shards")]


def make(root: Path, name: str, **labels: object) -> config.Recipe:
    """A finished label stage below ``root/name``."""
    recipe = config.parse(
        {
            "name": name,
            "root": str(root),
            "sources": [{"kind": "ptbxl", "uri": "none"}],
            "labels": {"min_count": 1, "audit_samples": 4, **labels},
        }
    )
    shards = report_shards.write(root / name / "shards", REPORTS, files=2)
    stage.build(recipe, [shards], recipe.folder("labels"))
    return recipe


def figures(recipe: config.Recipe, shards: list[str]) -> dict:
    audit_page.write(recipe, shards)
    return storage.read_json(storage.join(recipe.folder("labels"), audit_page.FIGURES))


def test_figures_are_those_of_the_reports(labelled: tuple[config.Recipe, list[str]]) -> None:
    found = figures(*labelled)
    entities = {row["id"]: row for row in found["entities"]}
    rhythm = entities["sinus_rhythm"]
    assert (rhythm["present"], rhythm["train"], rhythm["use"]) == (4, 3, "query")
    infarct = entities["inferior_infarction"]
    assert (infarct["present"], infarct["uncertain"], infarct["absent"]) == (1, 2, 0)
    assert entities["left_ventricular_hypertrophy"]["absent"] == 1
    assert entities["u_wave"]["use"] == "rare"
    assert found["unmatched"]["most_frequent"] == [["half a word", 1]]
    assert found["unmatched"] | {"most_frequent": 0} == {
        "statements": 1, "occurrences": 1, "of": 11, "most_frequent": 0,
    }  # fmt: skip


def test_codes_are_counted_record_by_record(labelled: tuple[config.Recipe, list[str]]) -> None:
    rows = {row["code"]: row for row in figures(*labelled)["codes"]["ptbxl"]}
    wanted = {"SR": (3, 4, 2, 0), "AFIB": (2, 1, 1, 0), "IMI": (2, 1, 0, 1)}
    counts = {c: tuple(rows[c][k] for k in ("coded", "stated", "both", "uncertain")) for c in wanted}
    assert counts == wanted
    assert (rows["AFIB"]["precision"], rows["AFIB"]["recall"]) == (1.0, 0.5)
    assert "<b>" not in rows, "a code that the vocabulary does not have"


def test_samples_are_drawn_by_the_seed(labelled: tuple[config.Recipe, list[str]]) -> None:
    recipe, shards = labelled
    ids = [row["record_id"] for row in figures(recipe, shards)["samples"]]
    assert len(set(ids)) == 4
    seen = set()
    for seed in range(8):
        other = recipe.model_copy(update={"seed": seed})
        drawn = [row["record_id"] for row in figures(other, shards)["samples"]]
        assert drawn == [row["record_id"] for row in figures(other, shards)["samples"]]
        seen.add(tuple(drawn))
    assert len(seen) > 2


class Page(HTMLParser):
    """Tags with their attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.said = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said += data


def test_the_page_shows_hostile_text_and_loads_nothing(labelled: tuple[config.Recipe, list[str]]) -> None:
    recipe, shards = labelled
    everything = recipe.model_copy(update={"labels": recipe.labels.model_copy(update={"audit_samples": 9})})
    html = storage.read_bytes(audit_page.write(everything, shards)).decode()
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {
        "script",
        "svg",
        "img",
        "iframe",
        "link",
        "object",
        "form",
        "a",
    } == set()
    assert not any(name.startswith("on") or name in ("src", "href") for _, own in page.tags for name in own)
    assert "url(" not in html
    assert "@import" not in html
    assert HOSTILE in page.said.replace("\n", "")
    marks = [own["title"] for tag, own in page.tags if tag == "mark" and "title" in own]
    assert "sinus_rhythm: present" in marks
    assert any(title.startswith("left_ventricular_hypertrophy: absent (no") for title in marks)


def test_marked_text_and_names_are_escaped_as_well(labelled: tuple[config.Recipe, list[str]]) -> None:
    found = figures(*labelled)
    marked = [0, len(HOSTILE), HOSTILE, "present", HOSTILE]
    statement = {"text": HOSTILE, "corrected": True, "mentions": [marked]}
    sample = {"record_id": HOSTILE, "codes": [HOSTILE], "statements": [statement]}
    labels = {"present": [HOSTILE], "uncertain": [], "absent": []}
    link = {"name": HOSTILE, "entity": HOSTILE, "how": "new", "similarity": 1.0, "records": 3}
    counts = {**found["counts"], "entities": {}}
    content = Audit.model_validate(
        {**found, "counts": counts, "samples": [{**sample, "labels": labels}], "links": [link]}
    )
    page = Page(audit_page.render(content))
    assert {tag for tag, _ in page.tags} & {"script", "svg", "object", "img"} == set()
    assert page.said.count(HOSTILE) == 6


def test_versions_show_what_has_changed(tmp_path: Path, labelled: tuple[config.Recipe, list[str]]) -> None:
    earlier, _ = labelled
    file = tmp_path / "c.csv"
    file.write_text("statement,entity,assertion\nhalf a word,u_wave,present\nNo LVH,u_wave,uncertain\n")
    now = make(tmp_path, "b", corrections=str(file), compare_with=earlier.folder("labels"))
    found = figures(now, [str(tmp_path / "b" / "shards")])["versions"]
    assert [line.split(":")[0] for line in found["configuration"]] == ["corrections"]
    assert found["vocabulary"] == {"added": [], "removed": [], "changed": {}}
    (row,) = found["records"]
    assert (row["entity"], row["before"]["present"], row["after"]["present"]) == ("u_wave", 0, 1)
    assert {item["text"] for item in found["statements"]["examples"]} == {"half a word", "No LVH"}
    by_entity = {item["entity"]: item for item in found["statements"]["entities"]}
    assert by_entity["sinus_rhythm"]["kappa"] == 1
    assert (by_entity["u_wave"]["second_only"], by_entity["u_wave"]["kappa"]) == (2, 0)
    assert "Since an earlier version" in storage.read_bytes(f"{now.folder('labels')}/audit.html").decode()


def test_what_is_no_label_folder_is_refused(labelled: tuple[config.Recipe, list[str]]) -> None:
    recipe, shards = labelled
    labels = recipe.labels.model_copy(update={"compare_with": shards[0]})
    with pytest.raises(config.ConfigError, match="is no label folder but one of shards"):
        audit_page.write(recipe.model_copy(update={"labels": labels}), shards)
    for wrong, says in ((recipe.folder("labels"), "to be made"), ("nowhere", r"run jobs/label\.py first")):
        labels = recipe.labels.model_copy(update={"compare_with": wrong})
        with pytest.raises(config.ConfigError, match=says):
            stage.check(recipe.model_copy(update={"labels": labels}))


def test_a_page_is_made_again_only_when_something_changed(labelled: tuple[config.Recipe, list[str]]) -> None:
    recipe, shards = labelled
    page = Path(audit_page.write(recipe, shards))
    stamp = page.stat().st_mtime_ns
    audit_page.write(recipe, shards)
    assert page.stat().st_mtime_ns == stamp
    audit_page.write(recipe.model_copy(update={"seed": 77}), shards)
    assert page.stat().st_mtime_ns > stamp


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_kappa_is_cohens(readings: list[tuple[bool, bool]]) -> None:
    def statements(which: int) -> dict[str, Statement]:
        said = [Mention("u_wave", "present", "", "", 0, 1)]
        return {str(n): Statement(str(n), 1, said if row[which] else []) for n, row in enumerate(readings)}

    rows = comparison.agreement(statements(0), statements(1))
    one, other = zip(*readings, strict=True)
    if not any(one) and not any(other):
        assert rows == []
    elif all(one) and all(other):
        assert rows[0].kappa is None
    else:
        assert rows[0].kappa == pytest.approx(cohen_kappa_score(one, other))
        assert rows[0].both + rows[0].first_only == sum(one)
