"""Rankings, bootstrap intervals and calibration; free of Ray and torch."""
