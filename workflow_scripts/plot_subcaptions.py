"""Examples of sub-captions."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots import read_subcaptions, save, subcaptions
from taclean.tables import script_log

with script_log(snakemake.log):
    table, images = read_subcaptions(snakemake.input.subcaptions, snakemake.input.images)
    save(subcaptions(table, images, snakemake.params.seed), snakemake.output)
