"""Rankings, intervals and tests with patients as units, power, calibration; free of Ray and torch."""
