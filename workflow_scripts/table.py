"""Collect the scores of all runs: results/table.csv."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.tables import long_table, script_log, write_table

with script_log(snakemake.log):
    write_table(long_table(list(snakemake.input.scores)), snakemake.output[0])
