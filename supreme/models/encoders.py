"""ECG encoders by name, and foreign ones by import path where the environment allows them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from supreme.config import ConfigError
from supreme.ecg import N_LEADS
from supreme.models.convnext1d import ConvNext1d
from supreme.models.resnet1d import ResNet1d
from supreme.models.s4d1d import S4d1d
from supreme.models.vit1d import ViT1d
from supreme.settings.model import ALLOWED_ENCODERS, ENCODER_SIZES, Model, is_allowed


class Encoder(Protocol):
    """ECGs to tokens: the interface of an ``nn.Module`` that ``Class(config, samples)`` returns.

    ``config.width``, ``depth``, ``heads``, ``patch`` and ``dropout`` are the recipe's, None where not set.
    """

    width: int
    """D of the tokens."""

    def __call__(self, ecg_BLT: Tensor) -> Tensor:
        """``(B, 12, T)`` millivolts to tokens ``(B, N, D)``; N is constant."""
        ...


def make(config: Model, samples: int) -> tuple[nn.Module, int, int]:
    """The encoder of a configuration, the width of its tokens, and their number for ECGs of ``samples``.

    Raises:
        ConfigError: an import path that the environment does not allow or that is no encoder.
    """
    encoder = build(config, samples)
    training = encoder.training
    with torch.no_grad():
        tokens = encoder.eval()(torch.zeros(2, N_LEADS, samples))
    encoder.train(training)
    shape, width = tuple(tokens.shape), getattr(encoder, "width", None)
    if len(shape) != 3 or shape[0] != 2 or shape[2] != width:
        raise ConfigError(
            f"model.encoder={config.encoder!r} has width {width} and returns {shape} for (2, {N_LEADS}, "
            f"{samples}): it must return (2, tokens, width)"
        )
    return encoder, shape[2], shape[1]


def build(config: Model, samples: int) -> nn.Module:
    """The encoder alone, without a look at what it makes.

    Raises:
        ConfigError: an import path that the environment does not allow, or that names no encoder.
    """
    if ":" in config.encoder:
        return _imported(config.encoder)(config, samples)
    if config.encoder.startswith("vit1d"):
        return _vit(config, samples)
    if config.encoder == "s4d1d":
        return S4d1d(**_sizes(config), dropout=config.dropout)
    if config.encoder == "convnext1d":
        return ConvNext1d(**_sizes(config), dropout=config.dropout)
    return ResNet1d(**_sizes(config))


def _sizes(config: Model, names: Sequence[str] = ("width", "depth")) -> dict[str, Any]:
    """The encoder's own sizes, and those that the recipe sets: a depth is that of each stage."""
    sizes = ENCODER_SIZES[config.encoder]
    own = {name: value for name in names if (value := getattr(config, name)) is not None}
    if "depth" in own and isinstance(sizes["depth"], tuple):
        own["depth"] = (own["depth"],) * len(sizes["depth"])
    return sizes | own


def _vit(config: Model, samples: int) -> nn.Module:
    return ViT1d(
        samples,
        patch=config.patch,
        tokens=config.tokens,
        positions=config.positions,
        dropout=config.dropout,
        **_sizes(config, ("width", "depth", "heads")),
    )


def _imported(path: str) -> Callable[[Model, int], nn.Module]:
    # The path may come from a downloaded bundle or recipe: only whoever starts the process may allow code.
    if not is_allowed(path):
        raise ConfigError(
            f"model.encoder={path!r} is code outside this package, which is not imported by default: "
            f"if you trust it, add {path} to the environment variable {ALLOWED_ENCODERS} on every node"
        )
    module, _, name = path.partition(":")
    try:
        encoder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"model.encoder={path!r}: {error}; install it where this process runs") from error
    if not (isinstance(encoder, type) and issubclass(encoder, nn.Module)):
        raise ConfigError(f"model.encoder={path!r} is not a torch.nn.Module class")
    return encoder
