"""Settings of the defences, chosen on val: `snakemake tune --configfile config/tune.yaml`."""


use rule tables as tune_grid with:
    input:
        histories=[*runs.tuning()],
        code=code_of("results.histories"),
    output:
        grid=report("results/tune/grid.csv", category="Tuning"),
        chosen="results/tune/chosen.yaml",
    log:
        "logs/tune_grid.log",
    params:
        look=runs.tuning_look(),
        runs=[*runs.tuning().values()],
        within=config["tune"]["within"],


use rule figure as tune with:
    input:
        grid="results/tune/grid.csv",
        code=code_of("report.figures.tradeoff"),
    output:
        "results/tune/tradeoff.pdf",
        report("results/tune/tradeoff.png", category="Tuning"),
    log:
        "logs/tune.log",
    params:
        look=runs.tuning_look(),
        module="tradeoff",
        name="tuning",
        arguments={"within": config["tune"]["within"]},
