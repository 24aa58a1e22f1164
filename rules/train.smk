"""Triggers, poison, and all that trains: the base model, poisoned models and defences.

Checkpoints live in checkpoints/, which is no output of any rule: a killed run goes on from there.
"""


rule base:
    input:
        data=runs.of_role("pretrain"),
        val=runs.of_role("val"),
        model=[],
        poison=[],
        trigger=[],
        manifest=[],
    output:
        model="results/base/model.safetensors",
        history="results/base/history.csv",
    log:
        "logs/base.log",
    benchmark:
        "results/benchmarks/base.tsv"
    priority: 100  # all trainings wait for it
    conda:
        "../envs/taclean.yaml"
    threads: runs.training_threads
    params:
        **training("base"),
        **folders("data", "val", "poison"),
        texts=[],
    shell:
        "{params.launch} -m taclean train --config {params.config} --stage {params.stage}"
        " --data {params.data} --val {params.val} --model {input.model}"
        " --poison {params.poison} --trigger {input.trigger:q} --manifest {input.manifest}"
        " --texts {params.texts} --checkpoints {params.checkpoints} --device {params.device}"
        " --out {output.model} --history {output.history} 2>&1 | tee {log}"


use rule base as clean_base with:
    output:
        model=CLEAN_BASE,
        history="results/clean/seed{seed}/history.csv",
    log:
        "logs/clean/seed{seed}.log",
    benchmark:
        "results/benchmarks/clean/seed{seed}.tsv"
    params:
        **training("clean/seed{seed}"),
        **folders("data", "val"),
        poison=[],
        texts=[],


rule imported:
    input:
        weights=runs.weights,
    output:
        "results/imported/model.safetensors",
    log:
        "logs/imported.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        **job("imported"),
    shell:
        "python -m taclean import --config {params.config} --stage {params.stage} --out {output}"
        " 2>&1 | tee {log}"


rule trigger:
    input:
        model=runs.fitted_to,
        images=runs.of_role("patch"),
        pretrain=runs.of_role("pretrain"),
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
    params:
        **job("trigger/{attack}/seed{seed}"),
        **folders("images", "pretrain"),
    shell:
        "python -m taclean trigger --config {params.config} --stage {params.stage} --model {input.model}"
        " --images {params.images} --pretrain {params.pretrain}"
        " --out {output.trigger} --report {output.report} --device {params.device} 2>&1 | tee {log}"


rule poison:
    input:
        data=runs.of_role("pretrain"),
        trigger=runs.fitted,
    output:
        multiext(f"{POISON}/", "manifest.csv", "images.npy", "tokens.npy"),
    log:
        "logs/poison/{attack}/seed{seed}.log",
    benchmark:
        "results/benchmarks/poison/{attack}/seed{seed}.tsv"
    priority: 20
    conda:
        "../envs/taclean.yaml"
    params:
        **job("poison/{attack}/seed{seed}"),
        data=folder("data"),
        out=subpath(output[0], parent=True),
    shell:
        "python -m taclean poison --config {params.config} --stage {params.stage} --data {params.data}"
        " --trigger {input.trigger:q} --out {params.out} 2>&1 | tee {log}"


use rule base as pretrain with:
    input:
        data=of_poisoning(runs.of_role("pretrain")),
        val=runs.of_role("val"),
        model=runs.poisoned_from,
        poison=of_poisoning(list(rules.poison.output)),
        trigger=runs.fitted,
        manifest=[],
        victim=runs.given,
    output:
        model=f"{VICTIM}/model.safetensors",
        history=f"{VICTIM}/history.csv",
    log:
        "logs/pretrain/{attack}/seed{seed}.log",
    benchmark:
        "results/benchmarks/pretrain/{attack}/seed{seed}.tsv"
    priority: 10
    params:
        **training("pretrain/{attack}/seed{seed}"),
        **folders("data", "val", "poison"),
        texts=[],


rule gate:
    input:
        history=rules.pretrain.output.history,
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


use rule base as finetune with:
    input:
        data=lambda wildcards: runs.learned_by(wildcards.defense),
        val=runs.of_role("val"),
        model=runs.start,
        poison=lambda wildcards: [] if runs.start(wildcards) else list(rules.poison.output),
        trigger=runs.fitted,
        manifest=of_poisoning(f"{OF_ATTACK}/poison/manifest.csv"),
        texts=runs.texts,
        gate=ancient(of_attack("gate.json")),  # whether the attack took; no part of the cleaning
    output:
        model=f"{RUN}/model.safetensors",
        history=f"{RUN}/history.csv",
    log:
        "logs/finetune/{attack}/{defense}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/finetune/{attack}/{defense}/seed{seed}{repeat}.tsv"
    wildcard_constraints:
        defense="|".join(checked.defenses) or "nothing",
    priority: 0
    params:
        **training("finetune/{attack}/{defense}/seed{seed}{repeat}"),
        **folders("data", "val"),
        # Recorded, unlike a param that depends on `input`: finished cleanings are not planned anew.
        poison=lambda wildcards: [] if runs.start(wildcards) else POISON.format(**wildcards),
        texts=runs.text_options,


rule victims:  # `snakemake victims`: the poisoned models in one archive, for run.victims of others
    input:
        files=runs.frozen(),
        val=runs.of_role("val"),
    output:
        "results/victims.zip",
    log:
        "logs/victims.log",
    conda:
        "../envs/taclean.yaml"
    params:
        **job("victims"),
        val=folder("val"),
    shell:
        "python -m taclean victims --config {params.config} --stage {params.stage}"
        " --val {params.val} --files {input.files} --out {output} --device {params.device}"
        " 2>&1 | tee {log}"


if checked.run.victims:

    rule frozen:  # in place of the rules that train and poison
        input:
            checked.run.victims,
        output:
            "results/{frozen}",
        log:
            "logs/frozen/{frozen}.log",
        wildcard_constraints:
            frozen="|".join(map(re.escape, FROZEN)),
        priority: 40
        localrule: True
        conda:
            "../envs/taclean.yaml"
        shell:
            "python -m taclean take --victims {input:q} --name {wildcards.frozen} --out {output}"
            " 2>&1 | tee {log}"

    ruleorder: frozen > pretrain > trigger > poison > imported > clean_base > base
