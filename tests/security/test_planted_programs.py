"""Exported programs that want to run code, read files or reach beyond their memory are refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import program_files
import pytest
import torch
from program_files import rewrite, with_json

from supreme.config import ConfigError
from supreme.inference.any_model import open_model

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("program") / "m.pt2"
    program_files.export(file, program_files.Pooled(), toml=program_files.description())
    return file


@pytest.fixture
def file(honest: Path, tmp_path: Path) -> Path:
    for suffix in (".pt2", ".toml"):
        (tmp_path / "m").with_suffix(suffix).write_bytes(honest.with_suffix(suffix).read_bytes())
    return tmp_path / "m.pt2"


def refusal(file: Path) -> str:
    with pytest.raises(ConfigError) as error:
        open_model(str(file))
    assert str(file) in str(error.value)
    return str(error.value)


def with_node(target: str, *arguments: dict[str, Any]) -> Callable[[Any], None]:
    """The first call becomes another one."""

    def change(document: Any) -> None:
        node = document["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        node["inputs"] = [{"name": "a", "arg": argument, "kind": 1} for argument in arguments]

    return change


def test_a_pickled_weight_is_refused_and_never_unpickled(file: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was here"

    def change(document: Any) -> None:
        document["config"]["head.weight"]["use_pickle"] = True
        document["config"]["head.weight"]["path_name"] = "planted"

    planted = {"data/weights/planted": program_files.planted_pickle(marker)}
    rewrite(file, {"weights_config.json": with_json(change)}, planted)
    assert "'head.weight' is pickled, and unpickling runs code" in refusal(file)
    assert not marker.exists()
    # torch's own loader does run it.
    with pytest.raises(Exception):  # noqa: B017, PT011
        torch.export.load(file)
    assert marker.exists()


def test_pickled_sample_inputs_are_not_read(file: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    rewrite(file, {"data/sample_inputs/model.pt": lambda _: program_files.planted_pickle(marker)})
    open_model(str(file))
    assert not marker.exists()


@pytest.mark.parametrize("path_name", ["custom_obj_0", "opaque_obj_0"])
def test_a_constant_that_is_an_object_is_refused(file: Path, tmp_path: Path, path_name: str) -> None:
    marker = tmp_path / "was here"

    def change(document: Any) -> None:
        document["config"]["planted"] = {"path_name": path_name, "is_param": False, "use_pickle": False}

    planted = {f"data/constants/{path_name}": program_files.planted_pickle(marker)}
    rewrite(file, {"constants_config.json": with_json(change)}, planted)
    assert "'planted' is pickled" in refusal(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        *(
            "torch.os.system",
            "torch.load",
            "torch.hub.load",
            "torch.ops.load_library",
            "_operator.methodcaller",
        ),
        *("_operator.attrgetter", "torch.ops.aten.from_file.default", "torch.ops.aten.set_.source_Storage"),
        *("torch.ops.aten.resize_.default", "torch.ops.aten._sparse_coo_tensor_unsafe.default"),
        *("torch.ops.aten._reshape_alias.default", "torch.ops.aten._resize_output_.default"),
        *(
            "torch.ops.aten.__class__.default",
            "torch.ops.aten.add.__class__",
            "torch.ops.aten.absent.default",
        ),
        *(
            "torch.ops.prim.NumToTensor.Scalar",
            "torch.ops.mylib.call.default",
            "#custom:op",
            "math.__loader__",
        ),
        *("torch.ops.higher_order.cond", "torch.ops.aten.add.Tensor.__globals__", "builtins.eval", ""),
    ],
)
def test_only_plain_tensor_operations_are_called(file: Path, target: str) -> None:
    rewrite(file, {"models/model.json": with_json(with_node(target, {"as_string": "echo"}))})
    assert "which is no plain tensor operation of torch and is not run" in refusal(file)


def test_expressions_are_not_evaluated(file: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"

    def change(document: Any) -> None:
        document["guards_code"] = [code]
        graph = document["graph_module"]["graph"]
        graph["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 2}}}
        graph["sym_int_values"] = {"s0": {"as_expr": {"expr_str": code}}}
        document["range_constraints"] = {code: {"min_val": 0, "max_val": 9}}

    rewrite(file, {"models/model.json": with_json(change)})
    open_model(str(file))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sizes", [{"as_int": 3}, {"as_int": 8_000_000}]),
        ("strides", [{"as_int": 800_000}, {"as_int": 1}]),
        ("strides", [{"as_int": -8}, {"as_int": 1}]),
        ("storage_offset", {"as_int": 500}),
        ("storage_offset", {"as_int": -1}),
        ("sizes", [{"as_int": -3}, {"as_int": 8}]),
        ("sizes", [{"as_int": 2**62}, {"as_int": 2**62}]),
    ],
)
def test_a_weight_does_not_reach_beyond_its_bytes(file: Path, key: str, value: object) -> None:
    def change(document: Any) -> None:
        document["config"]["head.weight"]["tensor_meta"][key] = value

    rewrite(file, {"weights_config.json": with_json(change)})
    assert "'head.weight' has 96 bytes, too few for" in refusal(file)


def without(key: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        del document["graph_module"][key]

    return change


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"models/model.json": lambda content: content[:500]}, "damaged"),
        ({"models/model.json": lambda _: b"[" * 100_000}, "damaged"),
        ({"models/model.json": with_json(without("signature"))}, "graph_module.signature: Field required"),
        ({"models/model.json": with_json(lambda d: d["schema_version"].update(major=99))}, "schema 99"),
        ({"data/weights/weight_0": lambda content: content[:-4]}, "too few"),
        ({"weights_config.json": with_json(lambda d: d["config"].pop("head.weight"))}, "head.weight"),
        ({"byteorder": lambda _: b"big"}, "big-endian"),
    ],
)
def test_damage_is_told(file: Path, changes: dict[str, Callable[[bytes], bytes]], problem: str) -> None:
    rewrite(file, changes)
    message = refusal(file)
    assert problem in message
    assert "export" in message


def test_what_is_no_archive_is_told(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "no exported program, or damaged" in refusal(file)
    file.write_bytes(b"not a zip")
    assert "no exported program, or damaged" in refusal(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    assert "no archive with one exported program" in refusal(file)
    torch.save({"weights": torch.zeros(3)}, file)
    assert "no archive with one exported program" in refusal(file)
    file.unlink()
    assert "not found" in refusal(file)


def test_names_that_no_call_made_are_told(file: Path) -> None:
    """A graph that refers to what is not there fails by name, without a traceback of the interpreter."""
    rewrite(
        file,
        {
            "models/model.json": with_json(
                with_node("torch.ops.aten.relu.default", {"as_tensor": {"name": "nowhere"}})
            )
        },
    )
    model = open_model(str(file))
    with pytest.raises(ValueError, match=r"m.pt2"):
        model.scorer()(np.ones((1, 12, 200), np.float32), 100)
