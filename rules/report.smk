"""Tables and figures. Each has a script of its own; an edit of it replans that picture alone."""


rule main_table:
    input:
        table="results/table.csv",
        script=workflow.source_path("../workflow_scripts/main_table.py"),
    output:
        report("results/main_table.md", caption="report/main_table.rst", category="Tables"),
        "results/main_table.tex",
    log:
        "logs/main_table.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    script:
        "../workflow_scripts/main_table.py"


rule plot_asr_ca:
    input:
        table="results/table.csv",
        script=workflow.source_path("../workflow_scripts/plot_asr_ca.py"),
    output:
        f"{FIGURES}/asr_ca.pdf",
        report(f"{FIGURES}/asr_ca.png", caption="report/asr_ca.rst", category="Figures"),
    log:
        "logs/plot_asr_ca.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    script:
        "../workflow_scripts/plot_asr_ca.py"


rule plot_tradeoff:
    input:
        table="results/table.csv",
        script=workflow.source_path("../workflow_scripts/plot_tradeoff.py"),
    output:
        f"{FIGURES}/tradeoff.pdf",
        report(f"{FIGURES}/tradeoff.png", caption="report/tradeoff.rst", category="Figures"),
    log:
        "logs/plot_tradeoff.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    script:
        "../workflow_scripts/plot_tradeoff.py"


rule plot_curves:
    input:
        histories=files_of(runs(DEFENSES[1:]), "history.csv"),
        script=workflow.source_path("../workflow_scripts/plot_curves.py"),
    output:
        f"{FIGURES}/curves.pdf",
        report(f"{FIGURES}/curves.png", caption="report/curves.rst", category="Figures"),
    log:
        "logs/plot_curves.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        runs=runs(DEFENSES[1:]),
        n=val_rows(),
    script:
        "../workflow_scripts/plot_curves.py"


rule plot_triggers:
    input:
        samples=files_of(runs(["none"], ATTACKS[1:], SEEDS[:1]), "samples.npz"),
        script=workflow.source_path("../workflow_scripts/plot_triggers.py"),
    output:
        f"{FIGURES}/triggers.pdf",
        report(f"{FIGURES}/triggers.png", caption="report/triggers.rst", category="Figures"),
    log:
        "logs/plot_triggers.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        runs=runs(["none"], ATTACKS[1:], SEEDS[:1]),
    script:
        "../workflow_scripts/plot_triggers.py"


rule plot_embeddings:
    input:
        samples=files_of(runs(DEFENSES, ATTACKS[1:], SEEDS[:1]), "samples.npz"),
        script=workflow.source_path("../workflow_scripts/plot_embeddings.py"),
    output:
        f"{FIGURES}/embeddings.pdf",
        report(f"{FIGURES}/embeddings.png", caption="report/embeddings.rst", category="Figures"),
    log:
        "logs/plot_embeddings.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        runs=runs(DEFENSES, ATTACKS[1:], SEEDS[:1]),
    script:
        "../workflow_scripts/plot_embeddings.py"


rule plot_recovered:
    input:
        samples=files_of(runs(DEFENSES, ATTACKS[1:], SEEDS[:1]), "samples.npz"),
        script=workflow.source_path("../workflow_scripts/plot_recovered.py"),
    output:
        f"{FIGURES}/recovered.pdf",
        report(f"{FIGURES}/recovered.png", caption="report/recovered.rst", category="Figures"),
    log:
        "logs/plot_recovered.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        runs=runs(DEFENSES, ATTACKS[1:], SEEDS[:1]),
    script:
        "../workflow_scripts/plot_recovered.py"


rule plot_subcaptions:
    input:
        subcaptions=f"data/text/seed{SEEDS[0]}/taclean/subcaptions.csv",
        images=f"{DATA}/clean/images.npy",
        script=workflow.source_path("../workflow_scripts/plot_subcaptions.py"),
    output:
        f"{FIGURES}/subcaptions.pdf",
        report(f"{FIGURES}/subcaptions.png", caption="report/subcaptions.rst", category="Figures"),
    log:
        "logs/plot_subcaptions.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        seed=SEEDS[0],
    script:
        "../workflow_scripts/plot_subcaptions.py"
