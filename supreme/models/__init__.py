"""ECG encoders, the Cardiac Fusion Network and the model that joins them.

Shape suffixes: B batch, L leads (12), T samples, N tokens, D width, Q queries, E text embedding.
"""
