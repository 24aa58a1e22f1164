"""The page of one's own model: results/own.html."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.files import read_json
from taclean.look import Look
from taclean.own_page import Examples, Report, page
from taclean.page import write
from taclean.tables import script_log

with script_log(snakemake.log):
    inputs, params = snakemake.input, snakemake.params
    files = zip(params.defenses, inputs.scores, inputs.moves, inputs.scans, strict=True)
    reports = [Report(name, *map(read_json, three)) for name, *three in files]
    texts = inputs.get("subcaptions")
    examples = Examples.read(f"{texts}/subcaptions.csv", inputs.images) if texts else None
    text = page(
        reports, Look.of(params.look), params.model, params.weights, params.splits, examples
    )
    write(text, snakemake.output[0])
