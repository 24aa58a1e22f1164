"""What each defence costs."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.results.cost import cost
from taclean.results.labels import Look
from taclean.results.table import script_log, write_table

with script_log(snakemake.log):
    table = cost(snakemake.params.runs, Look.of(snakemake.params.look))
    write_table(table, snakemake.output[0])
