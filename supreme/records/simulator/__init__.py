"""Simulated 12-lead ECGs: findings -> rhythm -> beats -> leads, and the report a cardiograph would print."""
