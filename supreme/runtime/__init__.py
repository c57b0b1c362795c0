"""What every job shares: command line, environment, Ray session."""
