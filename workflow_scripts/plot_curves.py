"""Attack success and clean accuracy over the epochs of cleaning."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.curves import curves, read_history
from taclean.report.figures.style import save
from taclean.results.labels import Look
from taclean.results.table import script_log

with script_log(snakemake.log):
    histories = [read_history(path) for path in snakemake.input.histories]
    params = snakemake.params
    save(curves(histories, params.runs, Look.of(params.look), params.get("n")), snakemake.output)
