"""The page of the results."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.page import write_page
from taclean.results.labels import Look
from taclean.results.table import read_table, script_log

with script_log(snakemake.log):
    given = snakemake.input
    write_page(
        snakemake.output[0],
        read_table(given.table),
        Look.of(snakemake.params.look),
        snakemake.params.cleaned,
        list(zip(given.figures, given.captions, strict=True)),
        {"workflow": given.about, "main_table": given.of_main_table, "table": given.of_table},
        {"snakemake": snakemake},
    )
