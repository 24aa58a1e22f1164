"""Spread of the scores and paired differences of the defences."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.results.labels import Look
from taclean.results.statistics import paired, spread
from taclean.results.table import read_table, script_log, write_table

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    write_table(spread(table), snakemake.output.spread)
    write_table(paired(table, look), snakemake.output.paired)
