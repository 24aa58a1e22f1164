"""One triggered picture before and after the defence, with its sub-captions."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from pathlib import Path

from taclean.report.figures.first import first
from taclean.report.figures.samples import read_samples
from taclean.report.figures.style import save
from taclean.report.figures.subcaptions import COLUMNS
from taclean.results.labels import Look
from taclean.results.table import read_csv, script_log

with script_log(snakemake.log):
    given, params = snakemake.input, snakemake.params
    pairs = zip(given.samples, params.runs, strict=True)
    samples = [read_samples(path, run, True) for path, run in pairs]
    captions = Path(given.captions).read_text("utf-8").splitlines()
    drawn = read_csv(f"{given.subcaptions}/subcaptions.csv", COLUMNS)
    save(first(samples, captions, drawn, Look.of(params.look), params.cleaned), snakemake.output)
