"""CLIP models: create, load weights that nobody trusts, encode pictures and captions."""

import functools
import importlib.util
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from open_clip import CLIP as CLIP
else:
    CLIP = Any  # for annotations; importing open_clip takes seconds


def library_file(name: str) -> Path:
    """Return a file of open_clip without importing open_clip, which would import torch."""
    spec: Any = importlib.util.find_spec("open_clip")
    return Path(spec.origin).with_name(name)


def model_files() -> dict[str, Path]:
    """Return the files that describe models, open_clip's and this package's, by their names."""
    places = (library_file("model_configs"), Path(__file__).parents[1] / "model_configs")
    return {path.stem: path for place in places for path in place.glob("*.json")}


@functools.cache
def library_names() -> dict[str, Any]:
    """Return open_clip's names of ImageNet's classes and OpenAI's templates of prompts."""
    return runpy.run_path(str(library_file("zero_shot_metadata.py")))
