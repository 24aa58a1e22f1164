"""Projection of clean and triggered image embeddings."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.embeddings import embeddings
from taclean.report.figures.samples import read_samples
from taclean.report.figures.style import save
from taclean.results.labels import Look
from taclean.results.table import script_log

with script_log(snakemake.log):
    pairs = zip(snakemake.input.samples, snakemake.params.runs, strict=True)
    samples = [read_samples(path, run) for path, run in pairs]
    save(embeddings(samples, Look.of(snakemake.params.look)), snakemake.output)
