"""Triggered images that TA-Cleaner gives their own class back."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import read_samples, recovered, save
from taclean.tables import script_log

with script_log(snakemake.log):
    pairs = zip(snakemake.input.samples, snakemake.params.runs, strict=True)
    save(recovered([read_samples(path, run, True) for path, run in pairs]), snakemake.output)
