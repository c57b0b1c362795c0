"""ECG encoder plus Cardiac Fusion Network or a baseline's head, with the baseline removal before them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from supreme.models import encoders
from supreme.models.fusion import CardiacFusionNetwork
from supreme.models.heads import EntityHead, JointEmbeddingHead
from supreme.settings.model import Model

WEIGHTS, CONFIG = "model.safetensors", "config.json"
#: Cycles per record below which is baseline, not ECG: 0.5 Hz in ten seconds.
_BASELINE_CYCLES = 5
_CLIP_MV = 4.0

#: Cardiac Fusion Network, MERL's joint embedding, a linear head over trained entities, or an encoder alone.
Head = Literal["fusion", "common_space", "entities", "none"]


class SupremeModel(nn.Module):
    """Answers text queries on ECGs.

    Args:
        config: architecture.
        text_dim: width of the query embeddings.
        samples: T of every ECG.
        head: computes logits of tokens and queries; "none" is an encoder alone, which answers no queries.
        known: for the head "entities": their phrasings (P, text_dim), and the entity (P,) of each.
    """

    fusion: nn.Module | None

    def __init__(
        self,
        config: Model,
        text_dim: int,
        samples: int,
        head: Head = "fusion",
        known: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.text_dim, self.samples, self.head = config, text_dim, samples, head
        self.encoder, self.token_width, tokens = encoders.make(config, samples)
        self.fusion = make_head(head, config, self.token_width, text_dim, tokens, known)

    @property
    def answers_queries(self) -> bool:
        """Whether text can be asked; False for an encoder alone."""
        return self.fusion is not None

    def encode(self, ecg_mv: Tensor) -> Tensor:
        """Tokens ``(B, N, D)`` of ECGs ``(B, 12, T)`` in millivolts."""
        return self.encoder(without_baseline(ecg_mv))

    def forward(self, ecg_mv: Tensor, queries: Tensor) -> Tensor:
        """Logits ``(B, Q)`` of ECGs ``(B, 12, T)`` in millivolts and query embeddings ``(Q, text_dim)``."""
        if self.fusion is None:
            raise ValueError("this model is an encoder alone and answers no queries: probe its `encode`")
        logits: Tensor = self.fusion(self.encode(ecg_mv), queries)
        return logits

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self.state_dict().items()}, Path(folder) / WEIGHTS
        )
        values = {
            "model": self.config.model_dump(),
            "text_dim": self.text_dim,
            "samples": self.samples,
            "head": self.head,
        }
        (Path(folder) / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SupremeModel:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            ConfigError: the encoder is foreign code that the environment does not allow.
        """
        values = json.loads((Path(folder) / CONFIG).read_text())
        config, weights = Model.model_validate(values["model"]), load_file(Path(folder) / WEIGHTS)
        # Bundles from before there were other heads do not name theirs.
        head, known = values.get("head", "fusion"), None
        if head == "entities":
            known = weights["fusion.phrasings"], weights["fusion.owner"]
        model = cls(config, values["text_dim"], values["samples"], head, known)
        model.load_state_dict(weights)
        return model.eval()


def make_head(
    head: Head,
    config: Model,
    token_width: int,
    text_dim: int,
    tokens: int,
    known: tuple[Tensor, Tensor] | None,
) -> nn.Module | None:
    """What makes logits of ``tokens`` tokens and queries; None for an encoder alone."""
    if head == "fusion":
        return CardiacFusionNetwork(config, token_width, text_dim, tokens)
    if head == "common_space":
        return JointEmbeddingHead(token_width, text_dim, config.fusion_width, config.temperature)
    if head == "entities":
        assert known is not None
        return EntityHead(token_width, *known)
    return None


def without_baseline(ecg_mv: Tensor) -> Tensor:
    """High-pass filter with a soft edge in the spectrum, then clip to what a heart can produce.

    Millivolts ``(B, 12, T)`` to the same shape.
    """
    with torch.autocast(ecg_mv.device.type, enabled=False):
        spectrum = torch.fft.rfft(ecg_mv.float(), dim=-1)
        cycles = torch.arange(spectrum.shape[-1], device=ecg_mv.device)
        keep = 1 - torch.exp(-((cycles / _BASELINE_CYCLES) ** 4) * 0.69)
        return torch.fft.irfft(spectrum * keep, n=ecg_mv.shape[-1], dim=-1).clamp(-_CLIP_MV, _CLIP_MV)
