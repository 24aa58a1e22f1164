"""Collect the scores of all runs: results/table.csv."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.results.labels import Look
from taclean.results.table import long_table, script_log, write_table

with script_log(snakemake.log):
    table = long_table(list(snakemake.input.scores), Look.of(snakemake.params.look))
    write_table(table, snakemake.output[0])
