"""Make the table that the rule is named after."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

from taclean.report.inputs import read_histories
from taclean.results.cost import cost
from taclean.results.histories import (
    LOSS,
    at_loss,
    by_budget,
    cleanings,
    grid,
    headline,
    overlay,
    rebound,
)
from taclean.results.labels import Look
from taclean.results.main_table import latex, markdown
from taclean.results.statistics import paired, spread
from taclean.results.table import long_table, main_rows, read_table, script_log, write_table
from taclean.util.files import write_text

with script_log(snakemake.log):
    given, params, output = snakemake.input, snakemake.params, snakemake.output
    look = Look.of(params.look)
    match snakemake.rule:
        case "table" | "rates":
            write_table(long_table(given.scores, look), output[0])
        case "at_budget":
            histories, rates = read_histories(given.histories), params.rates
            table = read_table(given.table)
            scores = by_budget(table, histories, rates, params.budgets, params.trained)
            write_table(scores, output.budgets)
            first = scores[scores["budget"] == params.budgets[0]]
            write_table(first.drop(columns="budget"), output.table)
            rows = main_rows(table, look)
            runs = cleanings(rows, rates)
            lost = at_loss(runs, params.budgets, rows["split"].iloc[0])
            write_table(lost, output.losses)
            write_text(output.told, f"{headline(scores, look)}\n{headline(lost, look, LOSS)}")
        case "tables":
            table = read_table(given.table)
            write_text(output[0], markdown(table, look))
            write_text(output[1], latex(table, look))
            write_table(spread(table), output.spread)
            write_table(paired(table, look), output.paired)
            if output.cost:
                write_table(cost(params.runs, look), output.cost)
        case "rebound":
            write_table(rebound(read_histories(given.histories)), output[0])
        case "scan":  # detectors import PyTorch, which the other tables need not wait for
            from taclean.detectors import scan_table

            scans = scan_table.read_scans([*given.poisoned, *given.clean], params.runs)
            write_table(scans, output.table)
            write_text(output.told, scan_table.markdown(scans, look))
        case "detect":
            from taclean.detectors import detection_table

            detections = detection_table.read_detections(given.found, params.detectors)
            write_table(detections, output.table)
            write_text(output.told, detection_table.markdown(detections, look))
        case "tune_grid":
            trials = grid(read_histories(given.histories), params.runs)
            write_table(trials, output.grid)
            write_text(output.chosen, overlay(trials, params.within))
