"""Fetch NLTK's WordNet and tagger, check them and make the lexicon's table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.files import read_json
from taclean.stages.shared import say

RECIPE = 1


def nltk_config(config: Config) -> dict[str, Any]:
    """Where the data come from."""
    source = {key: config["text"].get(key) for key in ("mirror", "folder")}
    return {"recipe": RECIPE, **source}


CONFIGS = {"nltk": nltk_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--out", "folder for WordNet, the tagger and the table made of WordNet")


def run(stage: dict[str, Any], options: Any) -> None:
    """Fetch."""
    from taclean.text import nltk_data

    nltk_data.make(options.out, mirror=stage["mirror"], folder=stage["folder"])
    for name, entry in read_json(Path(options.out) / "sources.json").items():
        say(f"nltk: {name} from {entry['source']}")
