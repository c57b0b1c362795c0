"""ECG encoders by name, and those of others by import path, where the environment allows them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from supreme.config import ConfigError
from supreme.ecg import N_LEADS
from supreme.models.resnet1d import ResNet1d
from supreme.models.vit1d import ViT1d
from supreme.settings.model import ALLOWED_ENCODERS, Model, is_allowed


class Encoder(Protocol):
    """ECGs to tokens: what an ``nn.Module`` made by ``Class(config, samples)`` must be.

    ``config.width``, ``depth``, ``heads``, ``patch`` and ``dropout`` are the recipe's, None where not set.
    """

    width: int
    """D of the tokens."""

    def __call__(self, ecg_BLT: Tensor) -> Tensor:
        """``(B, 12, T)`` millivolts to tokens ``(B, N, D)``, N the same for every batch."""
        ...


#: What an encoder is made of where the recipe says nothing else.
SIZES: dict[str, dict[str, Any]] = {
    "resnet1d": {"width": 16, "depth": (2, 2, 2, 2)},
    "resnet1d_18": {"width": 64, "depth": (2, 2, 2, 2)},
    "resnet1d_34": {"width": 64, "depth": (3, 4, 6, 3)},
    "resnet1d_50": {"width": 64, "depth": (3, 4, 6, 3), "bottleneck": True},
    "vit1d": {"width": 16, "depth": 2, "heads": 4},
    "vit1d_tiny": {"width": 192, "depth": 12, "heads": 3},
    "vit1d_small": {"width": 384, "depth": 12, "heads": 6},
    "vit1d_base": {"width": 768, "depth": 12, "heads": 12},
}


def make(config: Model, samples: int) -> tuple[nn.Module, int, int]:
    """The encoder of a configuration, the width of its tokens, and how many it makes of ECGs of ``samples``.

    Raises:
        ConfigError: an import path that the environment does not allow, or that names no encoder.
    """
    encoder = build(config, samples)
    training = encoder.training
    with torch.no_grad():
        tokens = encoder.eval()(torch.zeros(2, N_LEADS, samples))
    encoder.train(training)
    found, width = tuple(tokens.shape), getattr(encoder, "width", None)
    if len(found) != 3 or found[0] != 2 or found[2] != width:
        raise ConfigError(
            f"model.encoder={config.encoder!r} has width {width} and makes {found} of (2, {N_LEADS}, "
            f"{samples}): it must make (2, tokens, width)"
        )
    return encoder, found[2], found[1]


def build(config: Model, samples: int) -> nn.Module:
    """The encoder alone, without a look at what it makes.

    Raises:
        ConfigError: an import path that the environment does not allow, or that names no encoder.
    """
    if ":" in config.encoder:
        return _imported(config.encoder)(config, samples)
    if config.encoder.startswith("resnet1d"):
        return _resnet(config)
    return _vit(config, samples)


def _resnet(config: Model) -> nn.Module:
    size = dict(SIZES[config.encoder])
    if config.width is not None:
        size["width"] = config.width
    if config.depth is not None:
        size["depth"] = (config.depth,) * 4
    return ResNet1d(**size)


def _vit(config: Model, samples: int) -> nn.Module:
    set_here = {name: getattr(config, name) for name in ("width", "depth", "heads")}
    size = SIZES[config.encoder] | {name: value for name, value in set_here.items() if value is not None}
    return ViT1d(
        samples,
        patch=config.patch,
        tokens=config.tokens,
        positions=config.positions,
        dropout=config.dropout,
        **size,
    )


def _imported(path: str) -> Callable[[Model, int], nn.Module]:
    # It may come out of a downloaded bundle or recipe: only whoever starts the process may name code.
    if not is_allowed(path):
        raise ConfigError(
            f"model.encoder={path!r} is code outside this package, which is not imported unasked: "
            f"if you trust it, put {path} into the environment variable {ALLOWED_ENCODERS}, on every node"
        )
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"model.encoder={path!r}: {error}; install it where this process runs") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"model.encoder={path!r} is no torch.nn.Module class")
    return found
