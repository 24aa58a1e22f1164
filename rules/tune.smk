"""Settings of the defences, chosen on val: `snakemake tune --configfile config/tune.yaml`."""


rule tune:
    input:
        histories=runs.tuning_histories(),
        code=code_of("tune"),
    output:
        grid=report("results/tune/grid.csv", caption="report/tune.rst", category="Tuning"),
        chosen="results/tune/chosen.yaml",
        pdf="results/tune/tradeoff.pdf",
        png=report("results/tune/tradeoff.png", caption="report/tune.rst", category="Tuning"),
    log:
        "logs/tune.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.tuning_look(),
        runs=runs.tuning(),
        within=config["tune"]["within"],
    script:
        "../workflow_scripts/tune.py"
