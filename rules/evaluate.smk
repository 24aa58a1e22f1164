"""Scores of every run, and the table that all else is made from."""


rule evaluate:
    input:
        model=runs.model,
        triggers=runs.scored_triggers,
        splits=[file for name in runs.scored for file in runs.split(name)],
        probe=runs.split(checked.probed) if checked.probed else [],
        pretrain=runs.poisoned_split,
        clean=lambda wildcards: runs.learned_by(wildcards.defense),
    output:
        scores=f"{RUN}/scores.json",
        samples=f"{RUN}/samples.npz",
    log:
        "logs/evaluate/{attack}/{defense}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/evaluate/{attack}/{defense}/seed{seed}{repeat}.tsv"
    conda:
        "../envs/taclean.yaml"
    params:
        **job("evaluate/{attack}/{defense}/seed{seed}{repeat}"),
        **folders("probe", "pretrain", "clean"),
        splits=[f"{DATA}/{name}" for name in runs.scored],
        triggers=runs.trigger_options,
    shell:
        "python -m taclean evaluate --config {params.config} --stage {params.stage}"
        " --model {input.model} --splits {params.splits}"
        " --probe {params.probe} --trained {params.pretrain} {params.clean}"
        " --triggers {params.triggers:q} --out {output.scores} --samples {output.samples}"
        " --device {params.device} 2>&1 | tee {log}"


rule table:
    input:
        scores=runs.scores(),
        code=code_of("results.table"),
    output:
        report("results/table.csv", category="Tables"),
    log:
        "logs/table.log",
    priority: 50  # the figures that are left wait for it
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/table.py"


if checked.rates and runs.attacks[1:]:  # the table is then that of the first budget

    use rule table as rates with:
        output:
            report("results/rates.csv", category="Tables"),
        log:
            "logs/rates.log",

    use rule table as at_budget with:
        input:
            table="results/rates.csv",
            histories=runs.histories(checked.rates),
            code=code_of("results.histories"),
        output:
            table=report("results/table.csv", category="Tables"),
            budgets=report("results/budgets.csv", category="Tables"),
            losses=report("results/losses.csv", category="Tables"),
            told=report("results/budgets.md", category="Tables"),
        log:
            "logs/at_budget.log",
        params:
            look=runs.look(),
            rates=checked.rates,
            budgets=checked.run.budgets,
            trained={name: checked.trained_as(name) for name in runs.attacks[1:]},

    ruleorder: at_budget > table
