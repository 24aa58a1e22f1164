"""Tables, figures and the page of all. An edit of the code that draws a picture plans that picture."""


rule main_table:
    input:
        table="results/table.csv",
        code=code_of("main_table"),
    output:
        report("results/main_table.md", caption="report/main_table.rst", category="Tables"),
        "results/main_table.tex",
    log:
        "logs/main_table.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/main_table.py"


rule spread:
    input:
        table="results/table.csv",
        code=code_of("spread"),
    output:
        spread=report("results/spread.csv", caption="report/spread.rst", category="Tables"),
        paired=report("results/paired.csv", caption="report/paired.rst", category="Tables"),
    log:
        "logs/spread.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/spread.py"


rule cost:
    input:
        table="results/table.csv",  # all jobs have ended
        code=code_of("cost"),
    output:
        report("results/cost.csv", caption="report/cost.rst", category="Tables"),
    log:
        "logs/cost.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        runs=measured_runs(),
    script:
        "../workflow_scripts/cost.py"


rule plot_asr_ca:
    input:
        table="results/table.csv",
        code=code_of("plot_asr_ca"),
    output:
        f"{FIGURES}/asr_ca.pdf",
        report(f"{FIGURES}/asr_ca.png", caption="report/asr_ca.rst", category="Figures"),
    log:
        "logs/plot_asr_ca.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/plot_asr_ca.py"


rule plot_further_splits:
    input:
        table="results/table.csv",
        code=code_of("plot_further_splits"),
    output:
        f"{FIGURES}/further_splits.pdf",
        report(
            f"{FIGURES}/further_splits.png",
            caption="report/further_splits.rst",
            category="Figures",
        ),
    log:
        "logs/plot_further_splits.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/plot_further_splits.py"


rule plot_retrieval:
    input:
        table="results/table.csv",
        code=code_of("plot_retrieval"),
    output:
        f"{FIGURES}/retrieval.pdf",
        report(f"{FIGURES}/retrieval.png", caption="report/retrieval.rst", category="Figures"),
    log:
        "logs/plot_retrieval.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/plot_retrieval.py"


rule plot_tradeoff:
    input:
        table="results/table.csv",
        code=code_of("plot_tradeoff"),
    output:
        f"{FIGURES}/tradeoff.pdf",
        report(f"{FIGURES}/tradeoff.png", caption="report/tradeoff.rst", category="Figures"),
    log:
        "logs/plot_tradeoff.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/plot_tradeoff.py"


rule plot_versus:
    input:
        table="results/table.csv",
        code=code_of("plot_versus"),
    output:
        f"{FIGURES}/versus.pdf",
        report(f"{FIGURES}/versus.png", caption="report/versus.rst", category="Figures"),
    log:
        "logs/plot_versus.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
    script:
        "../workflow_scripts/plot_versus.py"


rule plot_axis:
    input:
        table="results/table.csv",
        code=code_of("plot_axis"),
    output:
        f"{FIGURES}/axes/{{axis}}.pdf",
        report(f"{FIGURES}/axes/{{axis}}.png", caption="report/axes.rst", category="Figures"),
    log:
        "logs/plot_axis/{axis}.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        axis=lookup("axes/{axis}", within=config),
    script:
        "../workflow_scripts/plot_axis.py"


rule plot_curves:
    input:
        histories=files_of(trainings(), "history.csv"),
        code=code_of("plot_curves"),
    output:
        f"{FIGURES}/curves.pdf",
        report(f"{FIGURES}/curves.png", caption="report/curves.rst", category="Figures"),
    log:
        "logs/plot_curves.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        runs=trainings(),
        n=val_rows(),
    script:
        "../workflow_scripts/plot_curves.py"


rule plot_triggers:
    input:
        samples=files_of(first_runs(DEFENSES[:1]), "samples.npz"),
        code=code_of("plot_triggers"),
    output:
        f"{FIGURES}/triggers.pdf",
        report(f"{FIGURES}/triggers.png", caption="report/triggers.rst", category="Figures"),
    log:
        "logs/plot_triggers.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        runs=first_runs(DEFENSES[:1]),
    script:
        "../workflow_scripts/plot_triggers.py"


rule plot_embeddings:
    input:
        samples=files_of(first_runs(DEFENSES), "samples.npz"),
        code=code_of("plot_embeddings"),
    output:
        f"{FIGURES}/embeddings.pdf",
        report(f"{FIGURES}/embeddings.png", caption="report/embeddings.rst", category="Figures"),
    log:
        "logs/plot_embeddings.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        runs=first_runs(DEFENSES),
    script:
        "../workflow_scripts/plot_embeddings.py"


rule plot_recovered:
    input:
        samples=files_of(first_runs(DEFENSES), "samples.npz"),
        code=code_of("plot_recovered"),
    output:
        f"{FIGURES}/recovered.pdf",
        report(f"{FIGURES}/recovered.png", caption="report/recovered.rst", category="Figures"),
    log:
        "logs/plot_recovered.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        cleaned=SHOWN_DEFENSE,
        runs=first_runs(DEFENSES),
    script:
        "../workflow_scripts/plot_recovered.py"


rule plot_first:
    input:
        samples=files_of(first_runs([DEFENSES[0], SHOWN_DEFENSE]), "samples.npz"),
        subcaptions=text_of("subcaptions", SHOWN_DEFENSE, SEEDS[0]) if has_first() else [],
        captions=f"{DATA}/{SCORED[0]}/captions.txt",
        code=code_of("plot_first"),
    output:
        f"{FIGURES}/first.pdf",
        report(f"{FIGURES}/first.png", caption="report/first.rst", category="Figures"),
    log:
        "logs/plot_first.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        cleaned=SHOWN_DEFENSE,
        runs=first_runs([DEFENSES[0], SHOWN_DEFENSE]),
    script:
        "../workflow_scripts/plot_first.py"


rule plot_subcaptions:
    input:
        subcaptions=example_text("subcaptions"),
        images=split("clean")[0],
        code=code_of("plot_subcaptions"),
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
        defense=labels_of(shown_user("subcaptions")),
    script:
        "../workflow_scripts/plot_subcaptions.py"


rule page:
    input:
        table="results/table.csv",
        figures=pictures(),
        captions=[caption_of(picture) for picture in pictures()],
        about=caption_of("workflow"),
        of_table=caption_of("table"),
        of_main_table=caption_of("main_table"),
        template=workflow.source_path("../taclean/assets/page/page.html"),
        code=code_of("page"),
    output:
        "results/report.html",
    log:
        "logs/page.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=look(),
        cleaned=SHOWN_DEFENSE,
        defense=labels_of(shown_user("subcaptions")),
    script:
        "../workflow_scripts/page.py"
