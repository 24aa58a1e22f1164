"""Bars of attack success and clean accuracy."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.asr_ca import asr_ca
from taclean.report.figures.style import save
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    save(asr_ca(table, look), snakemake.output)
