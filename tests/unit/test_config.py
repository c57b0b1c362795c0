"""Recipes: what is wrong is said with the key and the nearest valid one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from supreme import config
from supreme.settings.data import Shards

pytestmark = pytest.mark.unit


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\n[[sources]]\nkind = "simulated"\nrecords = 10\n[shards]\nrate_hz = 250\n')
    return str(path)


def test_overrides_reach_nested_keys_lists_and_strings(recipe_file):
    overrides = ["seed=7", "shards.duration_s=5", "sources.0.records=3", 'labels.held_out=["a"]', "root=out"]
    recipe = config.load(recipe_file, overrides)
    assert (recipe.seed, recipe.shards.samples, recipe.sources[0].records) == (7, 1250, 3)
    assert (recipe.labels.held_out, recipe.folder("labels")) == (("a",), "out/r/labels")


@pytest.mark.parametrize("root", ["out", "/data/out/", "s3://bucket/out?region=eu-west-1&scheme=http"])
def test_a_stage_has_the_same_name_below_every_root(root):
    recipe = config.Recipe(name="r", root=root)
    assert recipe.stage_of(recipe.folder("shards/ptbxl")) == "shards/ptbxl"


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("shards.rate_hertz=1", "shards.rate_hz"),
        ("traning.epochs=1", "training"),
        ("batch_size=1", "training.batch_size"),
        ("sources.0.recrods=1", "sources.records"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_key(recipe_file, override, nearest):
    with pytest.raises(config.ConfigError, match="unknown key") as caught:
        config.load(recipe_file, [override])
    assert f"'{nearest}'" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shards.rate_hz=0", "shards.rate_hz"),
        ("shards.rate_hz=fast", "got 'fast'"),
        ("seed", "not key=value"),
        ("sources.3.records=1", "one of the 1 items"),
        ("name.x=1", "has no keys below it"),
        ("labels.held_out=sinus_tachycardia", r"as a list: 'labels\.held_out=\["),
    ],
)
def test_wrong_values_name_their_key(recipe_file, override, message):
    with pytest.raises(config.ConfigError, match=message):
        config.load(recipe_file, [override])


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(config.ConfigError, match="no recipe 'nonesuch'"):
        config.load("nonesuch")


def test_broken_toml_names_the_file(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = ")
    with pytest.raises(config.ConfigError, match=r"broken\.toml"):
        config.load(str(path))


def test_the_digest_follows_values_not_order():
    assert config.digest({"a": 1, "b": 2}) == config.digest({"b": 2, "a": 1})
    assert config.digest(Shards()) != config.digest(Shards(rate_hz=500))


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        config.Recipe().seed = 1  # type: ignore[misc]


def test_a_stage_folder_in_object_storage_keeps_its_options_at_the_end():
    recipe = config.parse({"name": "n", "root": "s3://bucket/p/?anonymous=true"})
    assert recipe.folder("shards/x") == "s3://bucket/p/n/shards/x?anonymous=true"


def test_difference_tells_what_changed():
    assert config.difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 -> 3",
        "d: None -> 4",
    ]


def test_every_shipped_recipe_is_valid():
    for file in config.RECIPES.glob("*.toml"):
        assert config.load(file.stem).name
