"""Triggers, poison, and all that trains: the base model, poisoned models and defences.

Checkpoints live in checkpoints/, which is no output of any rule: a killed run goes on from there.
"""


rule base:
    input:
        config="results/configs/base.json",
        data=split("pretrain"),
        val=split("val"),
    output:
        model="results/base/model.safetensors",
        history="results/base/history.csv",
    log:
        "logs/base.log",
    benchmark:
        "results/benchmarks/base.tsv"
    conda:
        "../envs/taclean.yaml"
    threads: 2
    resources:
        **asks("base", gpu=GPUS),
    params:
        launch=launcher,
        data=folder("data"),
        val=folder("val"),
    shell:
        "{params.launch} -m taclean train --config {input.config}"
        " --data {params.data} --val {params.val}"
        " --checkpoints checkpoints/base --out {output.model} --history {output.history}"
        " 2>&1 | tee {log}"


rule clean_base:
    input:
        config="results/configs/clean/seed{seed}.json",
        data=split("pretrain"),
        val=split("val"),
    output:
        model=CLEAN_BASE,
        history="results/clean/seed{seed}/history.csv",
    log:
        "logs/clean/seed{seed}.log",
    benchmark:
        "results/benchmarks/clean/seed{seed}.tsv"
    conda:
        "../envs/taclean.yaml"
    threads: 2
    resources:
        **asks("base", gpu=GPUS),
    params:
        launch=launcher,
        data=folder("data"),
        val=folder("val"),
    shell:
        "{params.launch} -m taclean train --config {input.config}"
        " --data {params.data} --val {params.val}"
        " --checkpoints checkpoints/clean/seed{wildcards.seed}"
        " --out {output.model} --history {output.history} 2>&1 | tee {log}"


rule imported:
    input:
        config="results/configs/imported.json",
        weights=weights,
    output:
        "results/imported/model.safetensors",
    log:
        "logs/imported.log",
    benchmark:
        "results/benchmarks/imported.tsv"
    localrule: True
    conda:
        "../envs/taclean.yaml"
    shell:
        "python -m taclean import --config {input.config} --out {output} 2>&1 | tee {log}"


rule trigger:
    input:
        config="results/configs/trigger/{attack}/seed{seed}.json",
        model=BASE,
        images=split("patch"),
        pretrain=split("pretrain"),
    output:
        trigger=f"{OF_ATTACK}/trigger.safetensors",
        report=f"{OF_ATTACK}/trigger.json",
    log:
        "logs/trigger/{attack}/seed{seed}.log",
    benchmark:
        "results/benchmarks/trigger/{attack}/seed{seed}.tsv"
    priority: 20  # much waits for it
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("trigger", gpu=min(1, GPUS)),
    params:
        images=folder("images"),
        pretrain=folder("pretrain"),
    shell:
        "python -m taclean trigger --config {input.config} --model {input.model}"
        " --images {params.images} --pretrain {params.pretrain}"
        " --out {output.trigger} --report {output.report} 2>&1 | tee {log}"


rule poison:
    input:
        config="results/configs/poison/{attack}/seed{seed}.json",
        data=split("pretrain"),
        trigger=fitted,
    output:
        multiext(f"{OF_ATTACK}/poison/", "manifest.csv", "images.npy", "tokens.npy"),
    log:
        "logs/poison/{attack}/seed{seed}.log",
    benchmark:
        "results/benchmarks/poison/{attack}/seed{seed}.tsv"
    priority: 20
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("poison"),
    params:
        data=folder("data"),
        trigger=fitted_option,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m taclean poison --config {input.config} --data {params.data} {params.trigger}"
        " --out {params.folder} 2>&1 | tee {log}"


rule pretrain:
    input:
        config="results/configs/pretrain/{attack}/seed{seed}.json",
        model=BASE,
        data=split("pretrain"),
        val=split("val"),
        poison=rules.poison.output,
        trigger=fitted,
    output:
        model=f"{RUNS}/{{attack}}/none/seed{{seed}}/model.safetensors",
        history=f"{RUNS}/{{attack}}/none/seed{{seed}}/history.csv",
    log:
        "logs/pretrain/{attack}/seed{seed}.log",
    benchmark:
        "results/benchmarks/pretrain/{attack}/seed{seed}.tsv"
    priority: 10
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("pretrain", gpu=GPUS),
    params:
        launch=launcher,
        data=folder("data"),
        val=folder("val"),
        trigger=fitted_option,
        poison=folder("poison"),
    shell:
        "{params.launch} -m taclean train --config {input.config}"
        " --data {params.data} --val {params.val}"
        " --model {input.model} --poison {params.poison} {params.trigger}"
        " --checkpoints checkpoints/pretrain/{wildcards.attack}/seed{wildcards.seed}"
        " --out {output.model} --history {output.history} 2>&1 | tee {log}"


rule gate:
    input:
        history=f"{RUNS}/{{attack}}/none/seed{{seed}}/history.csv",
    output:
        f"{OF_ATTACK}/gate.json",
    log:
        "logs/gate/{attack}/seed{seed}.log",
    priority: 10
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        threshold=lookup("attacks/{attack}/gate", within=config),
    shell:
        "python -m taclean gate --attack {wildcards.attack} --history {input.history}"
        " --threshold {params.threshold} --out {output} 2>&1 | tee {log}"


rule finetune:
    input:
        config="results/configs/finetune/{attack}/{defense}/seed{seed}{repeat}.json",
        model=start,
        gate=ancient(of_attack("gate.json")),  # whether the attack took; no part of the cleaning
        manifest=of_attack("poison/manifest.csv"),
        texts=texts,
        data=lambda wildcards: cleaning_split(wildcards.defense),
        val=split("val"),
        trigger=fitted,
    output:
        model=f"{RUN}/model.safetensors",
        history=f"{RUN}/history.csv",
    log:
        "logs/finetune/{attack}/{defense}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/finetune/{attack}/{defense}/seed{seed}{repeat}.tsv"
    wildcard_constraints:
        defense="(?!none/)[A-Za-z0-9_]+",
    conda:
        "../envs/taclean.yaml"
    resources:
        **asks("finetune", gpu=GPUS),
    params:
        launch=launcher,
        data=folder("data"),
        val=folder("val"),
        options=finetune_options,
    shell:
        "{params.launch} -m taclean train --config {input.config}"
        " --data {params.data} --val {params.val}"
        " --model {input.model} {params.options}"
        " --checkpoints checkpoints/finetune/{wildcards.attack}/{wildcards.defense}/"
        "seed{wildcards.seed}{wildcards.repeat}"
        " --out {output.model} --history {output.history} 2>&1 | tee {log}"
