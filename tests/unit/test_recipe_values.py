"""Recipes that a wrong editor, a wrong file or a slip of the hand made: the file, the line, what to do."""

from __future__ import annotations

import os
import random
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config
from supreme.config import ConfigError, Recipe
from supreme.settings.recipe_file import MAX_BYTES

pytestmark = pytest.mark.unit

GOOD = 'name = "r"\n[[sources]]\nkind = "simulated"\nrecords = 10\n[shards]\nrate_hz = 250\n'
#: More in the background: SUPREME_FUZZ=100000.
FUZZED = int(os.environ.get("SUPREME_FUZZ", "600"))


def written(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_read_over(tmp_path: Path, line_end: str) -> None:
    text = GOOD.replace("\n", line_end)
    assert config.load(written(tmp_path, b"\xef\xbb\xbf" + text.encode())).shards.rate_hz == 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), "save it as UTF-8"),
        (GOOD.encode("utf-16-be"), "save it as UTF-8"),
        (GOOD.encode("utf-32"), "save it as UTF-8"),
        ((GOOD + "# Universität\n").encode("latin-1"), r"r\.toml:7: byte 0xe4 is not UTF-8"),
        ((GOOD + "a = 1\0\n").encode(), r"r\.toml:7: NUL byte"),
        ((GOOD + "a = " + "[" * 3000 + "]" * 3000).encode(), r"r\.toml:7: brackets are nested too deeply"),
        ((GOOD + "a = " + "{b=" * 3000).encode(), r"r\.toml:7: brackets are nested too deeply"),
        (("seed = " + "9" * 5000 + "\n" + GOOD).encode(), r"r\.toml:1: Exceeds the limit"),
        (("a" + ".a" * 3000 + " = 1\n" + GOOD).encode(), "more than 20 levels"),
        ((GOOD + "rate_hz = 100\n").encode(), "line 7"),
        (b"x" * (MAX_BYTES + 1), "this is no recipe"),
        (b"", "r.toml"),
    ],
)
def test_what_is_no_recipe_names_the_file_the_line_and_the_remedy(
    tmp_path: Path, content: bytes, message: str
) -> None:
    if not content:
        assert config.load(written(tmp_path, content)).name == "r"
        return
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(written(tmp_path, content))
    assert "r.toml" in str(caught.value)


def test_only_a_regular_file_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "nowhere.toml").symlink_to("missing")
    for name, message in [
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("zero", "not a regular file"),
        ("nowhere", "no recipe"),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(ConfigError, match=message):
            config.load(str(tmp_path / f"{name}.toml"))


def test_a_file_whose_name_is_none_asks_for_one(tmp_path: Path) -> None:
    path = tmp_path / "Bob's.toml"
    path.write_text("seed = 1\n")
    with pytest.raises(ConfigError, match=r"Bob's\.toml: has no `name`.*add name = "):
        config.load(str(path))
    assert config.load(str(path), ["name=bob"]).name == "bob"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("duration_s = inf", "shards.duration_s: inf is not a finite number"),
        ("duration_s = nan", "shards.duration_s: nan is not a finite number"),
        ("duration_s = 1e400", "shards.duration_s: inf is not a finite number"),
        ("duration_s = -0.0", "greater than 0"),
        ("rate_hz = 1e20", "valid integer"),
        ("rate_hz = 100000000000000000000", "more than 64 bits"),
        ("rate_hz = 1000000", "more than 50,000 is refused: no ECG is sampled faster"),
        ("rate_hz = true", "valid integer"),
        ("rate_hz = 100.0", "valid integer"),
        ('rate_hz = "100"', "valid integer"),
        ("rate_hz = 2024-01-01", "valid integer"),
        ("rate_hz = [100]", "valid integer"),
        ("derive_limb_leads = 1", "valid boolean"),
        ("duration_s = true", "valid number"),
        ("records_per_shard = 2000000", "a shard is one file"),
        ("compression = 'gzip'", "'lz4', 'zstd-3', 'none' or 'delta'"),
        ("rate_hertz = 5", "nearest valid key: 'shards.rate_hz'"),
    ],
)
def test_a_wrong_number_names_file_line_and_key(tmp_path: Path, line: str, message: str) -> None:
    content = (
        'name = "r"\n# a comment = 1\n\n[shards]\nrow_group_size = 8\n' + line + "\n[training]\nepochs=1\n"
    )
    with pytest.raises(ConfigError) as caught:
        config.load(written(tmp_path, content.encode()))
    where, _, text = str(caught.value).partition("r.toml:6: ")
    assert where, "the file comes first"
    assert message in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["shards.rate_hz=5000", "shards.duration_s=86400"], "samples a record"),
        (["shards.rate_hz=10", "shards.duration_s=0.01"], "samples a record"),
        (["shards.duration_s=600", "shards.row_group_size=65536"], "at most 745 records"),
        (["sources.0.records=20000000", "shards.rate_hz=500", "shards.duration_s=1000"], "any disk holds"),
        (["training.epochs=10", "training.checkpoint_every=1e-9"], "raise checkpoint_every"),
        (["sources.0.records=-1"], "greater than 0"),
        (["seed=-1"], "greater than or equal to 0"),
        (["seed=4294967296"], "NumPy takes 32 bits"),
        (["training.micro_batch=-1"], "training.micro_batch: "),
        (["llm.extra.top_p=nan"], "llm.extra.top_p: nan is not a finite number"),
        (['llm.extra.stop=["a", 1979-05-27]'], "llm.extra"),
        (["llm.extra" + ".a" * 25 + "=1"], "more than 20 levels"),
        (["seed=" + "9" * 5000], "Exceeds the limit"),
        (["seed=" + "[" * 3000], "recursion"),
        (["sources.99999999999999999999.records=1"], "one of the 1 items"),
        (["sources.-1.records=1"], "one of the 1 items"),
        (["a..b=1"], "not key=value"),
        (["=1"], "not key=value"),
        (["name=3"], "in quotation marks: 'name=\"3\"'"),
        (["model.encoder=os:system"], "SUPREME_ENCODERS"),
        (['sweep.space.model.encoder=["os:system"]'], "space.model.encoder: 'os:system' is code outside"),
        (["sweep.space.model.width=8"], "model.width: give a list of values"),
        (["sweep.space.model.width={low=9,high=8}"], "low=9 is not below high=8"),
        (["sweep.space.model.width={low=0,high=8,log=true}"], "log needs low > 0"),
        (["sweep.space.model.width={low=1,high=8}"], "a grid needs a list or a step"),
        (["sweep.space.model.width=[8,8]"], "the same trial twice"),
        (["sweep.space.model.width=[8]", "sweep.search=tpe"], "search=tpe needs trials=N"),
        (["labels.held_out=" + str(["a"] * 10_001).replace("'", '"')], "at most 10000 items"),
        (["model.width=100000"], "the largest published ECG encoders"),
    ],
)
def test_a_wrong_override_names_its_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load("smoke", overrides)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_override_that_looks_like_a_date_is_a_name() -> None:
    assert config.load("smoke", ["name=2024-01-01"]).name == "2024-01-01"


def test_the_same_numbers_written_otherwise_are_the_same_recipe() -> None:
    """4 and 4.0, 0.0 and -0.0: one stage folder, one digest."""
    one = config.parse({"training": {"epochs": 8, "ema_decay": 0.0}})
    other = config.parse({"training": {"epochs": 8.0, "ema_decay": -0.0}})
    assert config.digest(one) == config.digest(other)
    assert config.digest(Recipe()) == config.digest(config.parse({"training": {"epochs": 8}}))


def test_a_recipe_survives_the_way_to_a_worker() -> None:
    for file in config.RECIPES.glob("*.toml"):
        recipe = config.load(file.stem)
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_code_outside_the_package_is_never_imported_for_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPREME_ENCODERS", "not_installed:Encoder")
    assert config.load("smoke", ["model.encoder=not_installed:Encoder"]).model.encoder


# ---- fuzz

KEYS = sorted(config._valid_keys(Recipe))
VALUES = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=12),
    st.sampled_from([1e400, -0.0, 10**30, "", "..", "s3://", "nan", "a/b", None]),
)
NESTED = st.recursive(
    VALUES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), NESTED, max_size=4))
def test_any_values_are_a_recipe_or_a_configuration_error(values: dict[str, Any]) -> None:
    nested_values: dict[str, Any] = {}
    for key, value in values.items():
        target = nested_values
        *parents, last = key.split(".")
        for parent in parents:
            below = target.setdefault(parent, {})
            target = below if isinstance(below, dict) else {}
        target[last] = value
    try:
        recipe = config.parse(nested_values)
    except ConfigError:
        return
    assert config.parse(recipe.model_dump(mode="json")) == recipe


def test_mangled_recipes_raise_nothing_foreign(tmp_path: Path) -> None:
    """Bytes changed, cut, doubled and inserted in shipped recipes; random overrides beside them."""
    rng = random.Random(FUZZED)
    texts = [file.read_bytes() for file in sorted(config.RECIPES.glob("*.toml"))]
    pieces = [
        "inf",
        "nan",
        "1e400",
        "[[",
        "{",
        '"',
        "'''",
        "\\",
        "=",
        ".",
        "\n",
        "-0",
        "true",
        "\ufeff",
        "0x",
    ]
    accepted = longest = 0
    for _ in range(FUZZED):
        content = bytearray(rng.choice(texts))
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            at = rng.randrange(len(content))
            what = rng.randrange(4)
            if what == 0:
                content[at] = rng.randrange(256)
            elif what == 1:
                del content[at : at + rng.randrange(40)]
            elif what == 2:
                content[at:at] = content[at : at + rng.randrange(40)]
            else:
                content[at:at] = rng.choice(pieces).encode() * rng.choice((1, 1, 2, 2000))
        overrides = [_override(rng, pieces) for _ in range(rng.randrange(3))]
        path = written(tmp_path, bytes(content or b"#"))
        try:
            config.load(path, overrides)
            accepted += 1
        except ConfigError as error:
            longest = max(longest, len(str(error)))
    assert longest < 5000
    assert accepted > FUZZED / 100, "nothing was read at all"


def _override(rng: random.Random, pieces: list[str]) -> str:
    key = rng.choice(KEYS)
    if rng.random() < 0.3:
        key = key.replace("sources", f"sources.{rng.choice(['0', '1', '-1', '٣', 'x', ''])}")
    value = rng.choice(
        [
            rng.choice(pieces) * rng.choice((1, 3, 3000)),
            str(rng.uniform(-1e6, 1e6)),
            str(rng.randrange(-100, 10**9)),
            "".join(rng.choices(string.printable, k=rng.randrange(20))),
            "".join(chr(rng.randrange(0x110000)) for _ in range(3)),
        ]
    )
    return f"{key}={value}"
