"""Batches on their way to the device while the one before is learned from."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from supreme.training.data.batch import Batch


def prefetched(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on the device, still int16; one is copied while the one before it is in use."""
    on_gpu = device.type == "cuda"
    # Without a GPU there is no stream, and nothing is copied.
    copying = torch.cuda.Stream(device) if on_gpu else None
    coming: Batch | None = None
    for batch in batches:
        if coming and copying:
            # Here, where only this copy has been asked for, or the step would wait for the next one, too.
            _receive(coming, copying)
        arrived = coming
        with torch.cuda.stream(copying):
            coming = batch.to(device)
        if arrived:
            yield arrived
    if coming and copying:
        _receive(coming, copying)
    if coming:
        yield coming


def _receive(batch: Batch, copying: torch.cuda.Stream) -> None:
    """Let the stream of the step wait for the copy, and the memory be given back only after the step."""
    using = torch.cuda.current_stream(copying.device)
    using.wait_stream(copying)
    for tensor in batch.tensors():
        tensor.record_stream(using)
