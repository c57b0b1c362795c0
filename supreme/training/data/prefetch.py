"""Copy the next batch to the device while the current one is in use."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from supreme.training.data.batch import Batch


def prefetch(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on the device, still int16; one is copied ahead."""
    # Without a GPU there is no stream, and nothing is copied.
    copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    pending: Batch | None = None
    for batch in batches:
        if pending and copy_stream:
            # Before the next copy is queued, or the step would wait for that one, too.
            _wait_for_copy(pending, copy_stream)
        ready = pending
        with torch.cuda.stream(copy_stream):
            pending = batch.to(device)
        if ready:
            yield ready
    if pending and copy_stream:
        _wait_for_copy(pending, copy_stream)
    if pending:
        yield pending


def _wait_for_copy(batch: Batch, copy_stream: torch.cuda.Stream) -> None:
    """Let the step's stream wait for the copy, and keep the memory until the step has used it."""
    step_stream = torch.cuda.current_stream(copy_stream.device)
    step_stream.wait_stream(copy_stream)
    for tensor in batch.tensors():
        tensor.record_stream(step_stream)
