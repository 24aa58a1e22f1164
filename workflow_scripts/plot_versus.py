"""The defence under test less each other one."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.style import save
from taclean.report.figures.versus import versus
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(versus(table, look), snakemake.output)
