"""Write the config that one stage depends on."""

# ruff: noqa: F821  (Snakemake defines `snakemake`)

import json

from taclean.files import write_json

write_json(snakemake.output[0], json.loads(snakemake.params.config))
