"""Bars of the scores on further test sets."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.look import Look
from taclean.plots.further_splits import further_splits
from taclean.plots.style import save
from taclean.tables import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(further_splits(table, look), snakemake.output)
