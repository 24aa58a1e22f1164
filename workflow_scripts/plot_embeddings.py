"""Projection of clean and triggered image embeddings."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import embeddings, read_samples, save
from taclean.tables import script_log

with script_log(snakemake.log):
    pairs = zip(snakemake.input.samples, snakemake.params.runs, strict=True)
    save(embeddings([read_samples(path, run) for path, run in pairs]), snakemake.output)
