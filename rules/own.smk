"""The scan of models for a target, and the page of a run that is about one's own model."""

SCANNED = f"{RUN}/scan.json"


rule scan_model:
    input:
        config="results/configs/scan/seed{seed}.json",
        model=model,
        val=split("val"),
    output:
        scan=SCANNED,
        patterns=f"{RUN}/patterns.safetensors",
    log:
        "logs/scan/{attack}/{defense}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/scan/{attack}/{defense}/seed{seed}{repeat}.tsv"
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("evaluate", gpu=min(1, GPUS)),
    params:
        val=folder("val"),
    shell:
        "python -m taclean scan --config {input.config} --model {input.model}"
        " --split {params.val} --out {output.scan} --patterns {output.patterns} 2>&1 | tee {log}"


rule scan_clean:
    input:
        config="results/configs/scan/seed{seed}.json",
        model=CLEAN_BASE,
        val=split("val"),
    output:
        "results/clean/seed{seed}/scan.json",
    log:
        "logs/scan_clean/seed{seed}.log",
    benchmark:
        "results/benchmarks/scan_clean/seed{seed}.tsv"
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("evaluate", gpu=min(1, GPUS)),
    params:
        val=folder("val"),
    shell:
        "python -m taclean scan --config {input.config} --model {input.model}"
        " --split {params.val} --out {output} 2>&1 | tee {log}"


rule scan:
    input:
        poisoned=files_of(runs(DEFENSES[:1], ATTACKS[1:]), "scan.json"),
        clean=[f"results/clean/seed{seed}/scan.json" for seed in config["scan"]["clean_seeds"]],
        code=code_of("scan_table"),
    output:
        table="results/scan.csv",
        told="results/scan.md",
    log:
        "logs/scan.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        runs=runs(DEFENSES[:1], ATTACKS[1:]),
        seeds=config["scan"]["clean_seeds"],
    script:
        "../workflow_scripts/scan_table.py"


rule moves:
    input:
        config="results/configs/moves/{defense}/seed{seed}.json",
        model=model,
        triggers=scored_triggers,
        patterns=f"{RUNS}/{{attack}}/none/seed{{seed}}/patterns.safetensors",
        test=split("test"),
    output:
        f"{RUN}/moves.json",
    log:
        "logs/moves/{attack}/{defense}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/moves/{attack}/{defense}/seed{seed}{repeat}.tsv"
    wildcard_constraints:
        attack="clean",
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("evaluate", gpu=min(1, GPUS)),
    params:
        test=folder("test"),
        triggers=fitted_pairs,
    shell:
        "python -m taclean moves --config {input.config} --model {input.model}"
        " --split {params.test} --triggers {params.triggers} --patterns {input.patterns}"
        " --out {output} 2>&1 | tee {log}"


rule own_page:
    input:
        scores=files_of(runs(attacks=["clean"], seeds=SEEDS[:1], repeats=[0]), "scores.json"),
        moves=files_of(runs(attacks=["clean"], seeds=SEEDS[:1], repeats=[0]), "moves.json"),
        scans=files_of(runs(attacks=["clean"], seeds=SEEDS[:1], repeats=[0]), "scan.json"),
        subcaptions=example_text("subcaptions"),
        images=split("clean")[0],
        template=workflow.source_path("../taclean/assets/page/own.html"),
        code=code_of("own_page"),
    output:
        "results/own.html",
    log:
        "logs/own_page.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        model=config["model"]["name"],
        weights=config["model"].get("pretrained", "the base model of this run"),
        defenses=DEFENSES,
        splits=look()["splits"],
    script:
        "../workflow_scripts/own_page.py"
