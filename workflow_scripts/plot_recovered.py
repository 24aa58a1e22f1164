"""Triggered images that a defence gives their own class back."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.look import Look
from taclean.plots.recovered import recovered
from taclean.plots.samples import read_samples
from taclean.plots.style import save
from taclean.tables import script_log

with script_log(snakemake.log):
    pairs = zip(snakemake.input.samples, snakemake.params.runs, strict=True)
    samples = [read_samples(path, run, True) for path, run in pairs]
    save(
        recovered(samples, Look.of(snakemake.params.look), snakemake.params.cleaned),
        snakemake.output,
    )
