"""Names are never paths, and what a recipe calls a file, folder or server is judged when it is read."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme import config
from supreme.config import ConfigError
from supreme.settings.names import check_name, same_name
from supreme.settings.uris import check_root, check_uri

pytestmark = pytest.mark.unit

SOURCE = [{"kind": "simulated", "records": 3}]
KEYS = ("name", "sources.0.name", "tracking.model", "tracking.experiment")
PATHS = (
    *("../../../precious", "..", ".", "a/b", "a\\b", "/etc", "~/x", "C:x", "a\0b", "a\nb", "a\x1b[2Jb"),
    *(".hidden", "ends.", " blank", "blank ", "a" * 121, "ä" * 61, "Bob's ecg", 'a"b', "a`b", "a%41", "a?b"),
    *(
        "a#b",
        "$$",
        "a*b",
        "a|b",
        "a<b",
        "a@b",
        "a;b",
        "llm",
        "MLflow.db",
        "\u202egnp",
        "a\u200bb",
        "a\u2215b",
    ),
    *("\uff0e\uff0e\uff0fx", "\ud800", "\u0301a", "a\u2028b", "\N{FULLWIDTH SOLIDUS}", "a:b"),
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", PATHS)
def test_what_is_no_name_is_refused_when_the_recipe_is_read(
    key: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=key):
        config.load("smoke", [f"{key}={name}"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["name", "tracking.model", "tracking.experiment"])
def test_an_empty_name_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="must not be empty"):
        config.load("smoke", [f'{key}=""'])


@pytest.mark.parametrize(
    "name", ["demo", "CSN (Ningbo)", "a, b [c]", "Universität", "心電図", "v1.0-rc+1", "3"]
)
@pytest.mark.parametrize("key", KEYS)
def test_names_that_people_give_are_kept(key: str, name: str) -> None:
    text = '"3"' if name == "3" else name
    recipe = config.load("smoke", [f"{key}={text}"])
    assert name in (
        *(recipe.name, recipe.sources[0].dataset, recipe.tracking.model, recipe.tracking.experiment),
    )


@given(st.text(max_size=30))
def test_a_legal_name_is_one_folder_below_the_root(name: str) -> None:
    try:
        legal = check_name(name)
    except ValueError:
        return
    folder = Path("/root-of-all", legal)
    assert folder.parent == Path("/root-of-all")
    assert folder.resolve() == folder
    assert legal == unicodedata.normalize("NFC", legal) == check_name(legal)
    assert len(legal.encode()) <= 120
    assert not set(legal) & set("/\\?%#:*\"'`<>|@\0\n")


def test_composed_and_decomposed_names_are_one() -> None:
    assert check_name("Universita\u0308t") == "Universit\u00e4t"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("csn", "CSN"), ("Strasse", "straße"), ("a\u0308b", "\u00e4b")),
        *(("\uff43sn", "csn"), ("ﬁle", "file"), ("same", "same")),
    ],
)
def test_data_sets_that_a_file_system_cannot_tell_apart_are_refused(one: str, other: str) -> None:
    assert same_name(one) == same_name(other)
    sources = [{"kind": "csn", "name": name, "uri": name} for name in (one, other)]
    with pytest.raises(ConfigError, match="give one another name"):
        config.parse({"sources": sources})


def test_the_name_of_one_source_may_not_be_the_kind_of_another() -> None:
    with pytest.raises(ConfigError, match="'csn'"):
        config.parse({"sources": [{"kind": "csn", "uri": "a"}, {"kind": "ptbxl", "name": "CSN", "uri": "b"}]})


# ---- files, folders, servers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('root=""', "must not be empty"),
        ("root=a?b", "means something else"),
        ("root=/tmp/a%41", "means something else"),
        ("root=a#b", "means something else"),
        ("root=s3://", "names no bucket"),
        ("root=s3://AKIAEXAMPLE:hunter22@bucket/x", "leave the login out"),
        ("root=s3://bucket/../other", r"no '\.' or '\.\.'"),
        ("root=s3://bucket/%2e%2e/other", r"no '\.' or '\.\.'"),
        ("root=s3://bucket/x?secret_key=hunter22", "unknown option"),
        ("root=s3://bucket/x?endpoint_override=u:hunter22@host:1", "leave the login out"),
        ("root=gs://bucket/x", "only local paths"),
        ("root=file:///tmp/x", "give the path itself: /tmp/x"),
        ("real=http://host/x", "only local paths"),
        ("sources.0.uri=ftp://x", "only local paths"),
        ('labels.umls="a\\tb"', "control characters"),
        ("labels.corrections=" + "a" * 256, "255 bytes"),
        ("labels.compare_with=" + "a/" * 3000, "3,000 bytes"),
        ("predict.output=x.csv", "pattern"),
        ("predict.output=gs://x/y.parquet", "only local paths"),
        ("evaluation.model_uri=https://host/model", "only local paths"),
        ('tracking.uri="https://user:hunter22@host\\n"', "control characters"),
        ("llm.url=http://hunter22@ho st/v1", "no blanks"),
        ("llm.key_env=A B", "llm.key_env"),
    ],
)
def test_what_no_storage_takes_is_refused_without_the_secret(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config.load("smoke", [change])
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        *("", "runs", "../runs", "/data/a b", "~/runs", "s3://bucket", "s3://bucket/a/b?region=eu-west-1"),
        *("s3://b/p/?anonymous=true", "s3://b/p?endpoint_override=127.0.0.1:9000&scheme=http"),
    ],
)
def test_places_that_people_give_are_kept(uri: str) -> None:
    assert check_uri(uri) == uri
    assert not uri or check_root(uri) == uri


@pytest.mark.parametrize("uri", ["a%41b", "what?", "file:///data/x", "Jürgen/ekg"])
def test_a_folder_that_is_only_read_may_have_any_name(uri: str) -> None:
    assert config.load("smoke", [f"real={uri}"]).real == uri
