"""Detectors, the scan for a target, and the page of a run that is about one's own model."""

OWN = runs.all(attacks=["clean"], seeds=runs.seeds[:1], repeats=[0])
POISONED = runs.all(["none"], runs.attacks[1:])
SCANNED = [Run("clean", "none", seed) for seed in config["scan"]["clean_seeds"]]


rule scan_model:
    input:
        model=runs.model,
        val=runs.of_role("val"),
    output:
        scan=f"{RUN}/scan.json",
        patterns=f"{RUN}/patterns.safetensors",
    log:
        "logs/scan/{attack}/{defense}/seed{seed}{repeat}.log",
    conda:
        "../envs/taclean.yaml"
    params:
        **job("scan/seed{seed}"),
        val=folder("val"),
    shell:
        "python -m taclean scan --config {params.config} --stage {params.stage} --model {input.model}"
        " --split {params.val} --out {output.scan} --patterns {output.patterns}"
        " --device {params.device} 2>&1 | tee {log}"


use rule scan_model as scan_clean with:
    input:
        model=CLEAN_BASE,
        val=runs.of_role("val"),
    output:
        scan="results/clean/seed{seed}/scan.json",
        patterns="results/clean/seed{seed}/patterns.safetensors",
    log:
        "logs/scan_clean/seed{seed}.log",


use rule tables as scan with:
    input:
        poisoned=[run.path("scan.json") for run in POISONED],
        clean=[f"results/clean/seed{seed}/scan.json" for _, _, seed, _ in SCANNED],
        code=code_of("detectors.scan_table"),
    output:
        table="results/scan.csv",
        told="results/scan.md",
    log:
        "logs/scan.log",
    params:
        look=runs.look(),
        runs=[run._asdict() for run in POISONED + SCANNED],


rule detect_victim:
    input:
        model=runs.victim,
        clean=lambda wildcards: runs.base.format(seed=wildcards.seed),
        data=of_poisoning(runs.of_role("pretrain")),
        poison=of_poisoning(list(rules.poison.output)),
        val=runs.of_role("val"),
        test=runs.of_role("test"),
        trigger=runs.fitted,
    output:
        found=f"{VICTIM}/detection.json",
        scores=f"{VICTIM}/detection.npz",
    log:
        "logs/detect/{attack}/seed{seed}.log",
    conda:
        "../envs/taclean.yaml"
    params:
        **folders("data", "poison", "val", "test"),
        **job("detect/{attack}/seed{seed}"),
    shell:
        "python -m taclean detect --config {params.config} --stage {params.stage}"
        " --model {input.model} --clean {input.clean} --data {params.data} --poison {params.poison}"
        " --val {params.val} --test {params.test} --trigger {input.trigger:q} --out {output.found}"
        " --scores {output.scores} --device {params.device} 2>&1 | tee {log}"


use rule tables as detect with:
    input:
        found=[run.path("detection.json") for run in POISONED],
        code=code_of("detectors.detection_table"),
    output:
        table="results/detection.csv",
        told="results/detection.md",
    log:
        "logs/detection.log",
    params:
        look=runs.look(),
        detectors=runs.detectors,


rule moves:
    input:
        model=runs.model,
        triggers=runs.scored_triggers,
        patterns="results/runs/{attack}/none/seed{seed}/patterns.safetensors",
        test=runs.of_role("test"),
    output:
        f"{RUN}/moves.json",
    log:
        "logs/moves/{attack}/{defense}/seed{seed}{repeat}.log",
    wildcard_constraints:
        attack="clean",
    conda:
        "../envs/taclean.yaml"
    params:
        **job("moves/{defense}/seed{seed}"),
        test=folder("test"),
        triggers=runs.trigger_options,
    shell:
        "python -m taclean moves --config {params.config} --stage {params.stage} --model {input.model}"
        " --split {params.test} --triggers {params.triggers:q} --patterns {input.patterns}"
        " --out {output} --device {params.device} 2>&1 | tee {log}"


use rule page as own_page with:
    input:
        **FIGURES["subcaptions"].inputs,
        scores=[run.path("scores.json") for run in OWN],
        moves=[run.path("moves.json") for run in OWN],
        scans=[run.path("scan.json") for run in OWN],
        code=code_of("report.page", f"report.figures.{FIGURES['subcaptions'].module}"),
    output:
        "results/own.html",
    log:
        "logs/own_page.log",
    params:
        look=runs.look(),
        name=config["model"]["name"],
        weights=config["model"].get("pretrained", "the base model of this run"),
        defenses=runs.defenses,
        splits=runs.look()["splits"],
        user=lambda wildcards: FIGURES["subcaptions"].arguments["defense"],
