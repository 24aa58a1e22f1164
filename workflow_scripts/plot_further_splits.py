"""Bars of the scores on further test sets."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.further_splits import further_splits
from taclean.report.figures.style import save
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(further_splits(table, look), snakemake.output)
