"""The Ray Train run: driver, worker loop, checkpoints, history."""
