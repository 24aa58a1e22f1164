"""TA-Cleaner's chain: data -> triggers -> poisoned pre-training -> defences -> scores -> report."""

from snakemake.utils import min_version

min_version("9.25")


configfile: workflow.source_path("config/config.yaml")


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        "results/table.csv",
        "results/main_table.md",
        "results/main_table.tex",
        all_scores(),
        all_figures(),
