"""Scores of every run, and the table that all else is made from."""


rule evaluate:
    input:
        config="results/configs/evaluate/{attack}/{defense}/seed{seed}{repeat}.json",
        model=model,
        triggers=scored_triggers,
        splits=[files_of_split(name) for name in config["evaluate"]["splits"]],
        probe=files_of_split(PROBE) if PROBE else [],
    output:
        scores=f"{RUN}/scores.json",
        samples=f"{RUN}/samples.npz",
    log:
        "logs/evaluate/{attack}/{defense}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/evaluate/{attack}/{defense}/seed{seed}{repeat}.tsv"
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("evaluate", gpu=min(1, GPUS)),
    params:
        splits=split_folders,
        triggers=fitted_pairs,
        probe=probe_option,
    shell:
        "python -m taclean evaluate --config {input.config} --model {input.model}"
        " --splits {params.splits} {params.probe} --triggers {params.triggers}"
        " --out {output.scores} --samples {output.samples} 2>&1 | tee {log}"


rule table:
    input:
        scores=all_scores(),
        code=code_of("table"),
    output:
        report("results/table.csv", caption="report/table.rst", category="Tables"),
    log:
        "logs/table.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/table.py"
