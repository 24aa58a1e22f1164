"""Make the table that the rule is named after."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.detectors.detection_table import markdown as detection_markdown
from taclean.detectors.detection_table import read_detections
from taclean.detectors.scan_table import markdown as scan_markdown
from taclean.detectors.scan_table import read_scans
from taclean.report.inputs import read_histories
from taclean.results.cost import cost
from taclean.results.histories import by_budget, grid, headline, overlay, rebound
from taclean.results.labels import Look
from taclean.results.main_table import latex, markdown
from taclean.results.statistics import paired, spread
from taclean.results.table import long_table, read_table, script_log, write_table
from taclean.util.files import write_text

with script_log(snakemake.log):
    given, params, output = snakemake.input, snakemake.params, snakemake.output
    look = Look.of(params.look)
    match snakemake.rule:
        case "table" | "rates":
            write_table(long_table(given.scores, look), output[0])
        case "at_budget":
            histories, rates = read_histories(given.histories), params.rates
            scores = by_budget(read_table(given.table), histories, rates, params.budgets)
            write_table(scores, output.budgets)
            first = scores[scores["budget"] == params.budgets[0]]
            write_table(first.drop(columns="budget"), output.table)
            write_text(output.told, headline(scores, look))
        case "main_table":
            write_text(output[0], markdown(read_table(given.table), look))
            write_text(output[1], latex(read_table(given.table), look))
        case "spread":
            write_table(spread(read_table(given.table)), output.spread)
            write_table(paired(read_table(given.table), look), output.paired)
        case "cost":
            write_table(cost(params.runs, look), output[0])
        case "rebound":
            write_table(rebound(read_histories(given.histories)), output[0])
        case "scan":
            scans = read_scans([*given.poisoned, *given.clean], params.runs)
            write_table(scans, output.table)
            write_text(output.told, scan_markdown(scans, look))
        case "detect":
            detections = read_detections(given.found, params.detectors)
            write_table(detections, output.table)
            write_text(output.told, detection_markdown(detections, look))
        case "tune_grid":
            trials = grid(read_histories(given.histories), params.runs)
            write_table(trials, output.grid)
            write_text(output.chosen, overlay(trials, params.within))
