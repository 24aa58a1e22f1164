"""Gallery of the triggers."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import read_samples, save, triggers
from taclean.tables import script_log

with script_log(snakemake.log):
    pairs = zip(snakemake.input.samples, snakemake.params.runs, strict=True)
    save(triggers([read_samples(path, run, True) for path, run in pairs]), snakemake.output)
