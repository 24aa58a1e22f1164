"""Tables, figures and the page of all. An edit of the code that draws a figure plans that figure."""


use rule table as tables with:
    input:
        table="results/table.csv",
        code=code_of("results.main_table", "results.cost"),
    output:
        report("results/main_table.md", category="Tables"),
        "results/main_table.tex",
        spread=report("results/spread.csv", category="Tables"),
        paired=report("results/paired.csv", category="Tables"),
        cost=report("results/cost.csv", category="Tables") if runs.defenses[1:] else [],
    log:
        "logs/tables.log",
    params:
        look=runs.look(),
        runs=runs.measured(),


use rule tables as rebound with:
    input:
        histories=runs.followed(),
        code=code_of("results.histories"),
    output:
        report("results/rebound.csv", category="Tables"),
    log:
        "logs/rebound.log",


rule figure:
    input:
        unpack(lambda wildcards: FIGURES[wildcards.figure].inputs),
        code=lambda wildcards: code_of(f"report.figures.{FIGURES[wildcards.figure].module}"),
    output:
        "results/figures/{figure}.pdf",
        report("results/figures/{figure}.png", category="Figures"),
    log:
        "logs/figure/{figure}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    priority: 5  # beside the last cleanings
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        module=lambda wildcards: FIGURES[wildcards.figure].module,
        name=lambda wildcards: wildcards.figure.partition("/")[0],
        arguments=lambda wildcards: FIGURES[wildcards.figure].arguments,
    script:
        "../workflow_scripts/figure.py"


use rule figure as gallery with:
    output:
        "results/figures/{figure}.html",


rule page:
    input:
        table="results/table.csv",
        scores=runs.scores(),
        figures=[f"results/figures/{name}{FIGURES[name].suffixes[-1]}" for name in DRAWN],
        texts=[text_of(name) for name in DRAWN],
        code=code_of("report.page"),
    output:
        "results/report.html",
    log:
        "logs/page.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/page.py"
