"""Bars of attack success and clean accuracy."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import asr_ca, save
from taclean.tables import read_table, script_log

with script_log(snakemake.log):
    save(asr_ca(read_table(snakemake.input.table)), snakemake.output)
