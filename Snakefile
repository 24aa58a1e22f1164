"""TA-Cleaner's chain: data -> triggers -> poisoned pre-training -> defences -> scores -> report."""

from snakemake.utils import min_version

from workflow_scripts import forks
from workflow_scripts.locks import free_dead_locks, hold_locks
from workflow_scripts.watch import Watch, hint_targets

min_version("9.25")

free_dead_locks()
watch, server = Watch(), forks.Forks(workflow)
hint_targets(workflow)


configfile: workflow.source_path("config/config.yaml")


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"
include: "rules/own.smk"


if "tune" in config:

    include: "rules/tune.smk"


onstart:
    hold_locks(workflow.persistence)
    watch.follow(workflow)
    server.start(workflow)
    if workflow.local_exec:
        # A limit for clusters, by which each finished job adds looks at all jobs for good.
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    watch.succeeded(workflow, the_page())


onerror:
    watch.failed()


rule all:
    default_target: True
    input:
        "results/table.csv",
        runs.scores(),
        main_tables(),
        all_figures(),
        the_page(),
