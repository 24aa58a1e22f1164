"""Bars of recall."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.retrieval import retrieval
from taclean.report.figures.style import save
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(retrieval(table, look), snakemake.output)
