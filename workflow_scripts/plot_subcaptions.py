"""Examples of sub-captions."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.plots.style import save
from taclean.plots.subcaptions import read_subcaptions, subcaptions
from taclean.tables import script_log

with script_log(snakemake.log):
    table, images = read_subcaptions(
        f"{snakemake.input.subcaptions}/subcaptions.csv", snakemake.input.images
    )
    params = snakemake.params
    save(subcaptions(table, images, params.seed, params.defense), snakemake.output)
