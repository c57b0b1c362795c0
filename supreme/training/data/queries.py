"""The queries of a vocabulary, embedded by the frozen text encoder, with their whitening."""

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
    """Embedded phrasings of a vocabulary; entity i has the rows ``offsets[i]`` to ``offsets[i + 1]``."""

    embeddings: torch.Tensor
    """(phrasings, D) as the text encoder returns them."""
    mean: torch.Tensor
    """(D,), of the whitening."""
    matrix: torch.Tensor
    """(D, D), of the whitening."""
    offsets: torch.Tensor
    """(entities + 1,) int64."""
    unseen: torch.Tensor | None = None
    """(U, D): names of held-out entities, for validation only, as the text encoder returns them."""

    @classmethod
    def embed(
        cls,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        shrinkage: float,
        cache_folder: str | None,
        unseen: Iterable[Entity] = (),
        whitening: Whitening | None = None,
    ) -> Queries:
        """Embed all phrasings of all entities, and the names of unseen ones.

        The whitening is fitted over the base vocabulary as well, so that it separates findings that are not
        trained on, for later queries. No label is used.

        Args:
            whitening: that of a model that training goes on from, instead of one that is fitted.
        """
        texts = [query_texts(entity) for entity in vocabulary]
        phrasings = [text for of_entity in texts for text in of_entity]
        raw = embed(phrasings, encoder, cache_folder)
        if whitening is None:
            base = [text for entity in load_base() for text in query_texts(entity)]
            every = embed(list(dict.fromkeys(phrasings + base)), encoder, cache_folder)
            whitening = Whitening.fit(every, shrinkage)
        names = [query_texts(entity)[0] for entity in unseen]
        counts = [0, *(len(of_entity) for of_entity in texts)]
        return cls(
            torch.from_numpy(raw),
            torch.from_numpy(whitening.mean),
            torch.from_numpy(whitening.matrix),
            torch.from_numpy(np.cumsum(counts)),
            torch.from_numpy(embed(names, encoder, cache_folder)) if names else None,
        )

    @property
    def whitening(self) -> Whitening:
        """Centring and decorrelation, fitted over all phrasings."""
        return Whitening(self.mean.numpy(), self.matrix.numpy())

    def whitened(self) -> torch.Tensor:
        """(phrasings, D), the input of the fusion network."""
        return torch.from_numpy(self.whitening.apply(self.embeddings.numpy()))

    def whitened_unseen(self) -> torch.Tensor | None:
        """(U, D) as in `whitened`."""
        return None if self.unseen is None else torch.from_numpy(self.whitening.apply(self.unseen.numpy()))

    def known(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(phrasings, D) as in `whitened`, and the entity of each (phrasings,)."""
        counts = self.offsets.diff()
        return self.whitened(), torch.arange(len(counts)).repeat_interleave(counts)

    def write(self, uri: str) -> None:
        """Write as safetensors."""
        tensors = {name: getattr(self, name) for name in self.__dataclass_fields__}
        storage.write_bytes(uri, save({name: value for name, value in tensors.items() if value is not None}))

    @classmethod
    def read(cls, uri: str) -> Queries:
        """Read what `write` wrote."""
        return cls(**load(storage.read_bytes(uri)))
