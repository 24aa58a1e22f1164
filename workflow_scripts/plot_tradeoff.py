"""Clean accuracy against attack success."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import save, tradeoff
from taclean.tables import read_table, script_log

with script_log(snakemake.log):
    save(tradeoff(read_table(snakemake.input.table)), snakemake.output)
