"""What each defence costs."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.cost import cost
from taclean.look import Look
from taclean.tables import script_log, write_table

with script_log(snakemake.log):
    table = cost(snakemake.params.runs, Look.of(snakemake.params.look))
    write_table(table, snakemake.output[0])
