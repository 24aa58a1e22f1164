"""Figures of the workflow: each function takes data and returns a figure, `save` writes it."""

from __future__ import annotations

from taclean.plots.examples import read_subcaptions, recovered, subcaptions, triggers
from taclean.plots.samples import Samples, embeddings, read_samples
from taclean.plots.scores import asr_ca, curves, read_history, tradeoff
from taclean.plots.style import save

__all__ = [
    "Samples",
    "asr_ca",
    "curves",
    "embeddings",
    "read_history",
    "read_samples",
    "read_subcaptions",
    "recovered",
    "save",
    "subcaptions",
    "tradeoff",
    "triggers",
]
