"""Clean accuracy against attack success."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.look import Look
from taclean.plots.style import save
from taclean.plots.tradeoff import tradeoff
from taclean.tables import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(tradeoff(table, look), snakemake.output)
