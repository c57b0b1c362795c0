"""One optimization step on one worker: task, EMA weights, optimizer, validation."""
