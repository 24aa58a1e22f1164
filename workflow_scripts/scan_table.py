"""How well the scan tells poisoned models from clean ones: results/scan.csv and scan.md."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.results.labels import Look
from taclean.results.scan_table import read_scans, write_scans
from taclean.results.table import script_log

with script_log(snakemake.log):
    inputs, params = snakemake.input, snakemake.params
    clean = [{"attack": "clean", "defense": "none", "seed": seed} for seed in params.seeds]
    table = read_scans([*inputs.poisoned, *inputs.clean], [*params.runs, *clean])
    write_scans(table, Look.of(params.look), snakemake.output.table, snakemake.output.told)
