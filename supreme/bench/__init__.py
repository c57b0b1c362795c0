"""Measurements of speed and scale."""
