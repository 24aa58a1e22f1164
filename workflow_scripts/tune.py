"""The grid of a tuning, its curves, and what was chosen."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.look import Look
from taclean.plots.style import save
from taclean.plots.tuning import tuning
from taclean.tables import script_log, write_table
from taclean.tune import grid, write_overlay

with script_log(snakemake.log):
    params, output = snakemake.params, snakemake.output
    found = grid(snakemake.input.histories, params.runs)
    save(tuning(found, params.within, Look.of(params.look)), [output.pdf, output.png])
    write_table(found, output.grid)
    write_overlay(found, params.within, output.chosen)
