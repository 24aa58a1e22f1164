"""Write the page of the results, or of one's own model."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.gallery import subcaptions
from taclean.report.inputs import read_inputs
from taclean.report.page import Model, Section, own_page, page
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log
from taclean.util.files import read_json, write_text

with script_log(snakemake.log):
    given, params = snakemake.input, snakemake.params
    look = Look.of(params.look)
    if snakemake.rule == "page":
        figures = [*map(Section.read, given.figures, given.texts)]
        runs = [read_json(file) for file in given.scores]
        machines = {
            key: sorted({run[key] for run in runs if key in run})
            for key in ("trained_on", "scored_on")
        }
        text = page(read_table(given.table), look, figures, machines)
    else:
        files = zip(params.defenses, given.scores, given.moves, given.scans, strict=True)
        models = [Model(name, *map(read_json, three)) for name, *three in files]
        examples = None
        if given.get("texts"):
            texts = read_inputs({"texts": given.texts, "images": given.images})
            examples = subcaptions(**texts, defense=params.user, look=look)
        text = own_page(models, look, params.name, params.weights, params.splits, examples)
    write_text(snakemake.output[0], text)
