"""A search over keys of a recipe: space, trials, the queue that orders them, the tuner that runs them."""
