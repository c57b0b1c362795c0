"""Pre-training: order of the records, step, checkpoint, the loop of a worker, its driver, and the sweep."""
