"""Runs the graph of an exported program: tensor operations of torch by name, and nothing else."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from pydantic import JsonValue

from supreme.config import ConfigError
from supreme.inference.program_file import DTYPES, Argument, ProgramArchive, ProgramGraph, ProgramNode

_ATEN = re.compile(r"torch\.ops\.aten\.([a-z][a-z0-9_]*|_[a-z0-9_]+)\.([A-Za-z0-9_]+)")
#: Operations of torch's own that begin with an underscore and compute plain results.
_INNER = frozenset(
    {
        *("_assert_async", "_assert_scalar", "_log_softmax", "_softmax", "_to_copy"),
        *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_unsafe_view", "_fft_r2c"),
        *(
            "_fft_c2r",
            "_fft_c2c",
            "_adaptive_avg_pool2d",
            "_unsafe_index",
            "_scaled_dot_product_attention_math",
        ),
        *(
            "_scaled_dot_product_flash_attention_for_cpu",
            "_safe_softmax",
            "_local_scalar_dense",
            "_weight_norm",
        ),
        *("_weight_norm_interface", "_upsample_nearest_exact1d"),
    }
)
#: Operations that reach files or memory beyond their tensors.
_REFUSED = re.compile(
    r"from_file|set_.*|resize.*|.*sparse.*|record_stream|.*storage.*|pin_memory|.*(?:mkldnn|cudnn|miopen|fbgemm).*"
    r"|.*quantize.*|.*_backward|.*nested.*"
)
#: On sizes, which are whole numbers here.
_ON_NUMBERS: Mapping[str, Callable[..., object]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod")},
    **{f"_operator.{name}": getattr(operator, name) for name in ("neg", "truediv", "getitem", "and_", "or_")},
    **{f"_operator.{name}": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{"torch.sym_max": max, "torch.sym_min": min, "torch.sym_not": operator.not_},
    # Devices and types are those of this run, not of the export.
    "torch.ops.aten._assert_tensor_metadata.default": lambda *_, **__: None,
    **{"torch.sym_int": int, "torch.sym_float": float, "math.trunc": int},
}
_NO_GRADIENTS = "torch.ops.higher_order.wrap_with_set_grad_enabled"
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_TRAINING_FLAG = {"batch_norm": "training", "instance_norm": "use_input_stats", "dropout": "train"}

#: Values by the names of a graph.
_Values = dict[str, object]


@dataclass(frozen=True)
class _Step:
    """One call."""

    node: ProgramNode
    call: Callable[..., object] | None
    """None: the block ``inner`` is run."""
    inner: _GraphPlan | None
    unused_after: tuple[str, ...]
    """Values that no later step needs: a deep network's intermediate results would not all fit."""


@dataclass(frozen=True)
class _GraphPlan:
    """The calls of a graph, checked and in order."""

    graph: ProgramGraph
    steps: tuple[_Step, ...]


class ExportedProgram:
    """An exported program of one tensor to one tensor, on one device.

    Raises:
        ConfigError: the graph calls something beside plain tensor operations, or was exported in training
            mode; the message names it.
    """

    def __init__(self, archive: ProgramArchive, uri: str, device: str = "cpu") -> None:
        self.archive, self.uri = archive, uri
        self.device = torch.device(device)
        self._plan = self._planned(archive.graph)
        self._tensors = {name: tensor.to(self.device) for name, tensor in archive.tensors.items()}
        self._dtype = DTYPES[archive.input.dtype]

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """``(B, leads, samples)`` to float32 ``(B, width)`` on the CPU."""
        values: _Values = dict(self._tensors)
        values[self.archive.input_name] = batch.to(self.device, self._dtype)
        self._run(self._plan, values)
        return cast(torch.Tensor, values[self.archive.output_name]).float().cpu()

    def _planned(self, graph: ProgramGraph) -> _GraphPlan:
        last_use = _last_use(graph)
        steps = []
        for number, node in enumerate(graph.nodes):
            unused = tuple(last_use.get(number, ()))
            if node.target == _NO_GRADIENTS:
                steps.append(_Step(node, None, self._planned(_block(node)), unused))
                continue
            self._refuse_training(node)
            operation = self._operation(node.target)
            self._refuse_changed_weights(node, operation)
            steps.append(_Step(node, operation, None, unused))
        return _GraphPlan(graph, tuple(steps))

    def _refuse_training(self, node: ProgramNode) -> None:
        match = _ATEN.fullmatch(node.target)
        flag = _TRAINING_FLAG.get(match[1]) if match else None
        if any(item.name == flag and item.arg.get("as_bool") is True for item in node.inputs):
            raise ConfigError(
                f"{self.uri}: {node.target} is in training mode, so that a score depends on the batch or on "
                "chance: call model.eval() before the export"
            )

    def _refuse_changed_weights(self, node: ProgramNode, operation: Callable[..., object]) -> None:
        """What works in place on a weight would make a score depend on the batches before."""
        if not isinstance(operation, torch._ops.OpOverload) or not operation._schema.is_mutable:
            return
        written = {item.name for item in operation._schema.arguments if item.is_write}
        for item in node.inputs:
            if item.name in written and _name(item.arg) in self.archive.tensors:
                raise ConfigError(
                    f"{self.uri}: {node.target} changes the model's own {_name(item.arg)}: call model.eval() "
                    "before the export, and keep no state between calls"
                )

    def _operation(self, target: str) -> Callable[..., object]:
        if target in _ON_NUMBERS:
            return _ON_NUMBERS[target]
        match = _ATEN.fullmatch(target)
        if (
            match
            and (not match[1].startswith("_") or match[1] in _INNER)
            and not _REFUSED.fullmatch(match[1])
        ):
            packet = getattr(torch.ops.aten, match[1], None)
            overload = getattr(packet, match[2], None) if packet is not None else None
            if isinstance(overload, torch._ops.OpOverload):
                return overload
        raise ConfigError(
            f"{self.uri}: calls {target[:100]!r}, which is no plain tensor operation of torch and is not "
            "run: export a model of plain operations (program.run_decompositions() may turn it into such)"
        )

    def _run(self, plan: _GraphPlan, values: _Values) -> None:
        for step in plan.steps:
            _store(step.node, self._result(step, values), values)
            for name in step.unused_after:
                values.pop(name, None)

    def _result(self, step: _Step, values: _Values) -> object:
        inputs = step.node.inputs
        if step.inner is not None:
            # The block's own inputs are the arguments behind the flag and the block.
            names = [_name(argument) for argument in step.inner.graph.inputs]
            arguments = [self._value(item.arg, values) for item in inputs[2:]]
            inner: _Values = dict(zip(names, arguments, strict=True))
            self._run(step.inner, inner)
            return [inner[_name(output)] for output in step.inner.graph.outputs]
        if step.call is None:
            return None
        positional = [self._value(item.arg, values) for item in inputs if item.kind != 2]
        named = {item.name: self._value(item.arg, values) for item in inputs if item.kind == 2}
        return step.call(*positional, **named)

    def _value(self, argument: Argument, values: _Values) -> object:
        ((kind, content),) = argument.items()
        if kind in ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools"):
            return content
        if kind == "as_none":
            return None
        if kind == "as_tensor":
            return values[_name(argument)]
        if kind in ("as_sym_int", "as_sym_bool", "as_sym_float", "as_optional_tensor"):
            return self._one(content, values)
        if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self._one(item, values) for item in cast(list[JsonValue], content)]
        if kind == "as_scalar_type":
            return DTYPES[cast(int, content)]
        if kind == "as_device":
            return self.device
        if kind == "as_layout" and content == 7:
            return torch.strided
        if kind == "as_memory_format":
            return _MEMORY_FORMATS[cast(int, content)]
        raise ConfigError(
            f"{self.uri}: an argument of kind {kind!r} is not supported: export plain operations"
        )

    def _one(self, content: JsonValue, values: _Values) -> object:
        """``{"as_name": "s0"}``, ``{"name": "x"}``, ``{"as_int": 3}``, ``{"as_none": true}`` and so on."""
        ((kind, item),) = cast(Argument, content).items()
        if kind in ("as_name", "name"):
            return values[cast(str, item)]
        return self._value({kind: item}, values)


def _store(node: ProgramNode, result: object, values: _Values) -> None:
    if (
        len(node.outputs) == 1
        and "as_tensors" not in node.outputs[0]
        and not isinstance(result, list | tuple)
    ):
        values[_name(node.outputs[0])] = result
        return
    names = [name for output in node.outputs for name in _names(output)]
    results = result if isinstance(result, list | tuple) else [result]
    values.update(zip(names, results, strict=False))


def _block(node: ProgramNode) -> ProgramGraph:
    """The graph that a node runs."""
    (content,) = [item.arg["as_graph"] for item in node.inputs if "as_graph" in item.arg]
    return ProgramGraph.model_validate(cast(Argument, content)["graph"])


def _last_use(graph: ProgramGraph) -> dict[int, list[str]]:
    """Number of a node -> names that no later node and no output needs."""
    results = {name for output in graph.outputs for name in _names(output)}
    last: dict[str, int] = {}
    for number, node in enumerate(graph.nodes):
        arguments = [item.arg for item in node.inputs if "as_graph" not in item.arg]
        for argument in [*arguments, *node.outputs]:
            last |= dict.fromkeys(_names(argument), number)
    by_node: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in results:
            by_node.setdefault(number, []).append(name)
    return by_node


def _name(argument: Argument) -> str:
    names = _names(argument)
    return names[0] if names else ""


def _names(content: JsonValue) -> list[str]:
    """Every name that an argument refers to."""
    if isinstance(content, list):
        return [name for item in content for name in _names(item)]
    if not isinstance(content, dict):
        return []
    own = [item for key, item in content.items() if key in ("name", "as_name") and isinstance(item, str)]
    return own + [name for item in content.values() for name in _names(item)]
