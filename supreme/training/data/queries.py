"""What training asks of each record: labels, the embedded queries of the vocabulary, embedded reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load, save

from supreme import storage
from supreme.reports.vocabulary import Entity, Vocabulary, load_base, query_texts
from supreme.text import TextEncoder, Whitening, embed


@dataclass(frozen=True)
class Queries:
    """Embedded phrasings of a vocabulary; entity i owns the rows ``offsets[i]`` to ``offsets[i + 1]``."""

    embeddings: torch.Tensor
    """(phrasings, D) as the text encoder gives them."""
    mean: torch.Tensor
    matrix: torch.Tensor
    offsets: torch.Tensor
    """(entities + 1,) int64."""
    unseen: torch.Tensor | None = None
    """(U, D): names of entities that are asked for in validation alone, as the text encoder gives them."""

    @classmethod
    def embed(
        cls,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        shrinkage: float,
        cache_folder: str | None,
        unseen: Iterable[Entity] = (),
    ) -> Queries:
        """Embed all phrasings of all entities, and the names of unseen ones.

        The whitening is fitted over the base vocabulary as well: what separates findings that are not trained
        on is kept, for the queries that will ask for them. No label has a part in it.
        """
        texts = [query_texts(entity) for entity in vocabulary]
        asked = [text for phrasings in texts for text in phrasings]
        known = [text for entity in load_base() for text in query_texts(entity)]
        raw = embed(asked, encoder, cache_folder)
        white = Whitening.fit(embed(list(dict.fromkeys(asked + known)), encoder, cache_folder), shrinkage)
        names = [query_texts(entity)[0] for entity in unseen]
        counts = [0, *(len(phrasings) for phrasings in texts)]
        return cls(
            torch.from_numpy(raw),
            torch.from_numpy(white.mean),
            torch.from_numpy(white.matrix),
            torch.from_numpy(np.cumsum(counts)),
            torch.from_numpy(embed(names, encoder, cache_folder)) if names else None,
        )

    @property
    def whitening(self) -> Whitening:
        return Whitening(self.mean.numpy(), self.matrix.numpy())

    def whitened(self) -> torch.Tensor:
        """(phrasings, D), what the fusion network is asked with."""
        return torch.from_numpy(self.whitening.apply(self.embeddings.numpy()))

    def whitened_unseen(self) -> torch.Tensor | None:
        """(U, D) as in `whitened`."""
        return None if self.unseen is None else torch.from_numpy(self.whitening.apply(self.unseen.numpy()))

    def known(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(phrasings, D) as in `whitened`, and the entity of each (phrasings,)."""
        counts = self.offsets.diff()
        return self.whitened(), torch.arange(len(counts)).repeat_interleave(counts)

    def write(self, uri: str) -> None:
        tensors = {name: getattr(self, name) for name in self.__dataclass_fields__}
        storage.write_bytes(uri, save({name: value for name, value in tensors.items() if value is not None}))

    @classmethod
    def read(cls, uri: str) -> Queries:
        return cls(**load(storage.read_bytes(uri)))
