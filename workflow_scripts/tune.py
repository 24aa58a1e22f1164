"""The grid of a tuning, its curves, and what was chosen."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.style import save
from taclean.report.figures.tuning import tuning
from taclean.results.labels import Look
from taclean.results.table import script_log, write_table
from taclean.results.tuning import grid, write_overlay

with script_log(snakemake.log):
    params, output = snakemake.params, snakemake.output
    found = grid(snakemake.input.histories, params.runs)
    save(tuning(found, params.within, Look.of(params.look)), [output.pdf, output.png])
    write_table(found, output.grid)
    write_overlay(found, params.within, output.chosen)
