"""ECG encoder + Cardiac Fusion Network, with the normalisation that belongs to them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from supreme.config import Model
from supreme.models import encoders
from supreme.models.fusion import CardiacFusionNetwork

WEIGHTS, CONFIG = "model.safetensors", "config.json"
#: Cycles a record below which is baseline, not ECG: 0.5 Hz in ten seconds.
_BASELINE_CYCLES = 5
_CLIP_MV = 4.0


class SupremeModel(nn.Module):
    """Answers text queries on ECGs.

    Args:
        config: architecture.
        text_dim: width of the query embeddings.
        samples: T of every ECG.
    """

    def __init__(self, config: Model, text_dim: int, samples: int) -> None:
        super().__init__()
        self.config, self.text_dim, self.samples = config, text_dim, samples
        self.encoder, width, tokens = encoders.make(config, samples)
        self.fusion = CardiacFusionNetwork(config, width, text_dim, tokens)

    def encode(self, ecg_mv: Tensor) -> Tensor:
        """Tokens ``(B, N, D)`` of ECGs ``(B, 12, T)`` in millivolts."""
        return self.encoder(without_baseline(ecg_mv))

    def forward(self, ecg_mv: Tensor, queries: Tensor) -> Tensor:
        """Logits ``(B, Q)`` of ECGs ``(B, 12, T)`` in millivolts and query embeddings ``(Q, text_dim)``."""
        return self.fusion(self.encode(ecg_mv), queries)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self.state_dict().items()}, Path(folder) / WEIGHTS
        )
        values = {"model": self.config.model_dump(), "text_dim": self.text_dim, "samples": self.samples}
        (Path(folder) / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SupremeModel:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            ConfigError: the encoder is code of others that the environment does not allow.
        """
        values = json.loads((Path(folder) / CONFIG).read_text())
        model = cls(Model.model_validate(values["model"]), values["text_dim"], values["samples"])
        model.load_state_dict(load_file(Path(folder) / WEIGHTS))
        return model.eval()


def without_baseline(ecg_mv: Tensor) -> Tensor:
    """Take out slow drift with a soft edge in the spectrum and clip what no heart makes; shape is kept."""
    with torch.autocast(ecg_mv.device.type, enabled=False):
        spectrum = torch.fft.rfft(ecg_mv.float(), dim=-1)
        cycles = torch.arange(spectrum.shape[-1], device=ecg_mv.device)
        keep = 1 - torch.exp(-((cycles / _BASELINE_CYCLES) ** 4) * 0.69)
        return torch.fft.irfft(spectrum * keep, n=ecg_mv.shape[-1], dim=-1).clamp(-_CLIP_MV, _CLIP_MV)
