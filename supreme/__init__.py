"""SuPreME: ECGs and their reports in, an encoder that answers text questions about an ECG out."""

__version__ = "0.1.0"
