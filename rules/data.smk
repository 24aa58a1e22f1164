"""Stage configs, packed splits and the text work that all attacks share."""


# Filled in by Snakemake itself: a process for each of a hundred configs takes a minute.
rule stage_config:
    input:
        template=workflow.source_path("../workflow_scripts/stage_config.json"),
    output:
        "results/configs/{stage}.json",
    log:
        "logs/configs/{stage}.log",
    localrule: True
    params:
        config=stage_json,
    template_engine:
        "jinja2"


rule fetch:
    input:
        config="results/configs/fetch/{source}.json",
    output:
        f"{DATA}/fetched/{{source}}.json",
    log:
        "logs/fetch/{source}.log",
    benchmark:
        "results/benchmarks/fetch/{source}.tsv"
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        folder=source_folder,
    shell:
        "python -m taclean fetch --config {input.config} --folder {params.folder:q} --out {output}"
        " 2>&1 | tee {log}"


rule index:
    input:
        config="results/configs/index/{source}.json",
        files=fetched,
    output:
        f"{DATA}/index/{{source}}.json",
    log:
        "logs/index/{source}.log",
    benchmark:
        "results/benchmarks/index/{source}.tsv"
    conda:
        "../envs/taclean.yaml"
    params:
        folder=source_folder,
    shell:
        "python -m taclean index --config {input.config} --folder {params.folder:q} --out {output}"
        " 2>&1 | tee {log}"


rule pack:
    input:
        config="results/configs/pack/{split}.json",
        index=lambda wildcards: source_of(wildcards.split),
    output:
        expand("{data}/{{split}}/{file}", data=DATA, file=FILES),
    log:
        "logs/pack/{split}.log",
    benchmark:
        "results/benchmarks/pack/{split}.tsv"
    priority: 30  # before the base model takes both cores
    conda:
        "../envs/taclean.yaml"
    threads: pack_threads
    params:
        source=index_options,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        "python -m taclean pack --config {input.config} {params.source} --workers {threads}"
        " --out {params.folder} 2>&1 | tee {log}"


rule text:
    input:
        config="results/configs/text/{text}/{shared}/seed{seed}{repeat}.json",
        data=lambda wildcards: cleaning_split(user_of(config, wildcards.text, wildcards.shared)),
    output:
        directory(TEXT),
    log:
        "logs/text/{text}/{shared}/seed{seed}{repeat}.log",
    benchmark:
        "results/benchmarks/text/{text}/{shared}/seed{seed}{repeat}.tsv"
    conda:
        "../envs/taclean.yaml"
    threads: 1  # runs beside a training; on a cluster the profile gives it more
    params:
        data=folder("data"),
    shell:
        "python -m taclean text --config {input.config} --data {params.data}"
        " --workers {threads} --out {output} 2>&1 | tee {log}"
