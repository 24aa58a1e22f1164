"""Attack success and clean accuracy over the epochs of cleaning."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import curves, read_history, save
from taclean.tables import script_log

with script_log(snakemake.log):
    histories = [read_history(path) for path in snakemake.input.histories]
    save(curves(histories, snakemake.params.runs, snakemake.params.get("n")), snakemake.output)
