"""The defence under test less each other one."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.look import Look
from taclean.plots.style import save
from taclean.plots.versus import versus
from taclean.tables import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(versus(table, look), snakemake.output)
