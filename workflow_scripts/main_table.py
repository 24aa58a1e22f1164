"""The main table, as Markdown and LaTeX."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.tables import read_table, script_log, write_main_table

with script_log(snakemake.log):
    write_main_table(read_table(snakemake.input.table), snakemake.output)
