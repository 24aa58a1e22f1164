"""Draw a figure: see taclean/report/figures/__init__.py."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from importlib import import_module

from taclean.report.figures.style import save
from taclean.report.inputs import read_inputs
from taclean.results.labels import Look
from taclean.results.table import script_log
from taclean.util.files import write_text

with script_log(snakemake.log):
    files = {name: file for name, file in snakemake.input.items() if name != "code"}
    params = snakemake.params
    draw = getattr(import_module(f"taclean.report.figures.{params.module}"), params.name)
    figure = draw(**read_inputs(files), **params.arguments, look=Look.of(params.look))
    if isinstance(figure, str):
        write_text(snakemake.output[0], figure)
    else:
        save(figure, snakemake.output)
