"""The report: figures, 12-lead plates and one self-contained page."""
