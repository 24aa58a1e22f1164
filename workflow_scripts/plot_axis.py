"""One choice along an axis."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.figures.axis import axis
from taclean.report.figures.style import save
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    table, look = read_table(snakemake.input.table), Look.of(snakemake.params.look)
    given = snakemake.params.axis
    save(axis(table, given["label"], given["values"], look), snakemake.output)
