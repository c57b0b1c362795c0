"""A sweep over losses and encoders: trials, and the tuner that runs them."""
