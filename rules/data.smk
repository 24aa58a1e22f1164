"""Sources, packed splits, and the texts that defences learn from, which all attacks share."""


rule fetch:
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
        **job("fetch/{source}"),
        folder=lambda wildcards: runs.fetch_folder(wildcards.source),
    shell:
        "python -m taclean fetch --config {params.config} --stage {params.stage}"
        " --folder {params.folder:q} --out {output} 2>&1 | tee {log}"


rule index:
    input:
        files=runs.fetched,
    output:
        f"{DATA}/index/{{source}}.parquet",
    log:
        "logs/index/{source}.log",
    benchmark:
        "results/benchmarks/index/{source}.tsv"
    conda:
        "../envs/taclean.yaml"
    threads: 2
    params:
        **job("index/{source}"),
        folder=lambda wildcards: runs.source_folder(wildcards.source),
    shell:
        "python -m taclean index --config {params.config} --stage {params.stage}"
        " --folder {params.folder:q} --workers {threads} --out {output} 2>&1 | tee {log}"


rule pack:
    input:
        index=runs.index,
        known=runs.known,
    output:
        expand("{data}/{{split}}/{file}", data=DATA, file=FILES),
    log:
        "logs/pack/{split}.log",
    benchmark:
        "results/benchmarks/pack/{split}.tsv"
    priority: 30
    conda:
        "../envs/taclean.yaml"
    threads: runs.pack_threads
    params:
        **job("pack/{split}"),
        source=runs.split_source,
        out=subpath(output[0], parent=True),
    shell:
        "python -m taclean pack --config {params.config} --stage {params.stage}"
        " --index {input.index} --folder {params.source:q} --workers {threads}"
        " --known {input.known} --out {params.out} 2>&1 | tee {log}"


# The base model needs these splits, and all other trainings need the base model.
if first := list(filter(None, map(checked.split_of_role, ("pretrain", "val")))):

    use rule pack as pack_first with:
        wildcard_constraints:
            split="|".join(first),
        priority: 100  # more than two other splits have together
        threads: 2  # or val may take the core that pretrain waits for

    ruleorder: pack_first > pack


rule text:
    input:
        data=runs.text_split,
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
        **job("text/{text}/{shared}/seed{seed}{repeat}"),
        data=folder("data"),
    shell:
        "python -m taclean text --config {params.config} --stage {params.stage} --data {params.data}"
        " --workers {threads} --out {output} 2>&1 | tee {log}"
