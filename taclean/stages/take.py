"""Take one file of a frozen victim out of its archive."""

from typing import Any

from taclean.stages.shared import option

OPTIONS = [
    option("--victims", "the archive, as `snakemake victims` makes it"),
    option("--name", "the member, such as runs/badnet/none/seed0/model.safetensors"),
    option("--out", "where it goes"),
]


def run(options: Any) -> None:
    from taclean.attacks.victims import take

    take(options.victims, options.name, options.out)
