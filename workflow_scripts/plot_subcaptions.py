"""Examples of sub-captions."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.style import save
from taclean.report.figures.subcaptions import read_subcaptions, subcaptions
from taclean.results.table import script_log
from taclean.util.files import read_json

with script_log(snakemake.log):
    folder, params = snakemake.input.subcaptions, snakemake.params
    table, images = read_subcaptions(f"{folder}/subcaptions.csv", snakemake.input.images)
    account = read_json(f"{folder}/account.json")
    save(subcaptions(table, images, params.seed, params.defense, account), snakemake.output)
