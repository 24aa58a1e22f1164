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
        look=runs.look(),
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
        look=runs.look(),
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
        look=runs.look(),
        runs=runs.measured(),
    script:
        "../workflow_scripts/cost.py"


rule plot_asr_ca:
    input:
        table="results/table.csv",
        code=code_of("plot_asr_ca"),
    output:
        "results/figures/asr_ca.pdf",
        report("results/figures/asr_ca.png", caption="report/asr_ca.rst", category="Figures"),
    log:
        "logs/plot_asr_ca.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/plot_asr_ca.py"


rule plot_further_splits:
    input:
        table="results/table.csv",
        code=code_of("plot_further_splits"),
    output:
        "results/figures/further_splits.pdf",
        report(
            "results/figures/further_splits.png",
            caption="report/further_splits.rst",
            category="Figures",
        ),
    log:
        "logs/plot_further_splits.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/plot_further_splits.py"


rule plot_retrieval:
    input:
        table="results/table.csv",
        code=code_of("plot_retrieval"),
    output:
        "results/figures/retrieval.pdf",
        report("results/figures/retrieval.png", caption="report/retrieval.rst", category="Figures"),
    log:
        "logs/plot_retrieval.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/plot_retrieval.py"


rule plot_tradeoff:
    input:
        table="results/table.csv",
        code=code_of("plot_tradeoff"),
    output:
        "results/figures/tradeoff.pdf",
        report("results/figures/tradeoff.png", caption="report/tradeoff.rst", category="Figures"),
    log:
        "logs/plot_tradeoff.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/plot_tradeoff.py"


rule plot_versus:
    input:
        table="results/table.csv",
        code=code_of("plot_versus"),
    output:
        "results/figures/versus.pdf",
        report("results/figures/versus.png", caption="report/versus.rst", category="Figures"),
    log:
        "logs/plot_versus.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
    script:
        "../workflow_scripts/plot_versus.py"


rule plot_axis:
    input:
        table="results/table.csv",
        code=code_of("plot_axis"),
    output:
        "results/figures/axes/{axis}.pdf",
        report("results/figures/axes/{axis}.png", caption="report/axes.rst", category="Figures"),
    log:
        "logs/plot_axis/{axis}.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        axis=lookup("axes/{axis}", within=config),
    script:
        "../workflow_scripts/plot_axis.py"


rule plot_curves:
    input:
        histories=[run.path("history.csv") for run in runs.cleanings()],
        code=code_of("plot_curves"),
    output:
        "results/figures/curves.pdf",
        report("results/figures/curves.png", caption="report/curves.rst", category="Figures"),
    log:
        "logs/plot_curves.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        runs=[run._asdict() for run in runs.cleanings()],
        n=runs.val_rows(),
    script:
        "../workflow_scripts/plot_curves.py"


rule plot_triggers:
    input:
        samples=[run.path("samples.npz") for run in runs.first(runs.defenses[:1])],
        code=code_of("plot_triggers"),
    output:
        "results/figures/triggers.pdf",
        report("results/figures/triggers.png", caption="report/triggers.rst", category="Figures"),
    log:
        "logs/plot_triggers.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        runs=[run._asdict() for run in runs.first(runs.defenses[:1])],
    script:
        "../workflow_scripts/plot_triggers.py"


rule plot_embeddings:
    input:
        samples=[run.path("samples.npz") for run in runs.first(runs.defenses)],
        code=code_of("plot_embeddings"),
    output:
        "results/figures/embeddings.pdf",
        report(
            "results/figures/embeddings.png", caption="report/embeddings.rst", category="Figures"
        ),
    log:
        "logs/plot_embeddings.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        runs=[run._asdict() for run in runs.first(runs.defenses)],
    script:
        "../workflow_scripts/plot_embeddings.py"


rule plot_recovered:
    input:
        samples=[run.path("samples.npz") for run in runs.first(runs.defenses)],
        code=code_of("plot_recovered"),
    output:
        "results/figures/recovered.pdf",
        report("results/figures/recovered.png", caption="report/recovered.rst", category="Figures"),
    log:
        "logs/plot_recovered.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        cleaned=runs.shown,
        runs=[run._asdict() for run in runs.first(runs.defenses)],
    script:
        "../workflow_scripts/plot_recovered.py"


rule plot_first:
    input:
        samples=[run.path("samples.npz") for run in runs.first([runs.defenses[0], runs.shown])],
        subcaptions=runs.text("subcaptions", runs.shown, runs.seeds[0]) if runs.has_first() else [],
        captions=f"{DATA}/{runs.scored[0]}/captions.txt",
        code=code_of("plot_first"),
    output:
        "results/figures/first.pdf",
        report("results/figures/first.png", caption="report/first.rst", category="Figures"),
    log:
        "logs/plot_first.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        look=runs.look(),
        cleaned=runs.shown,
        runs=[run._asdict() for run in runs.first([runs.defenses[0], runs.shown])],
    script:
        "../workflow_scripts/plot_first.py"


rule plot_subcaptions:
    input:
        subcaptions=runs.example_text("subcaptions"),
        images=runs.of_role("clean")[0],
        code=code_of("plot_subcaptions"),
    output:
        "results/figures/subcaptions.pdf",
        report(
            "results/figures/subcaptions.png", caption="report/subcaptions.rst", category="Figures"
        ),
    log:
        "logs/plot_subcaptions.log",
    localrule: True
    conda:
        "../envs/taclean.yaml"
    params:
        seed=runs.seeds[0],
        defense=labels_of(runs.shown_user("subcaptions")),
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
        look=runs.look(),
        cleaned=runs.shown,
        defense=labels_of(runs.shown_user("subcaptions")),
    script:
        "../workflow_scripts/page.py"
