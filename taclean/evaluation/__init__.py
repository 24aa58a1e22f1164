"""Scores of a model: zero-shot accuracy, attack success, retrieval, probes."""
