"""The main table, as Markdown and LaTeX."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.results.labels import Look
from taclean.results.main_table import write_main_table
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    write_main_table(table, snakemake.output, look)
