"""The page of one's own model: results/own.html."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.model_page import Examples, Report, page
from taclean.report.page import write
from taclean.results.labels import Look
from taclean.results.table import script_log
from taclean.util.files import read_json

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
