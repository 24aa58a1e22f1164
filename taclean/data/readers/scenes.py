"""Emoji scenes as a source: a range of scene ids, composed when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from taclean.data import scenes
from taclean.data.readers.base import Reader, Sample

SCENES = 1000  # that make a shard


class SceneReader(Reader):
    """The scenes `ids`, in shards of 1,000; the ids of the rows are those of the scenes.

    Args:
        ids: scene ids, a range with step 1.
        seed: the scenes' seed.
        size: side of the images in px.
        classes: `default`, `all`, or names of drawings.
        shift: drawn in the styles that are held out.
        second: chance of a second drawing, 0 to 1.
    """

    def __init__(
        self,
        ids: range,
        seed: int,
        size: int,
        *,
        classes: str | Sequence[str] = "default",
        shift: bool = False,
        second: float = 0.0,
    ):
        self.ids, self.seed, self.first_id = ids, seed, ids.start
        self.options: dict[str, Any] = {
            "size": size,
            "classes": classes if isinstance(classes, str) else tuple(classes),
            "shift": shift,
            "second": second,
        }

    def shards(self) -> list[str]:
        return [f"scenes@{part[0]}" for part in self._parts()]

    def _parts(self) -> list[range]:
        return [self.ids[i : i + SCENES] for i in range(0, len(self.ids), SCENES)]

    def count(self, shard: str) -> int:
        return min(SCENES, self.ids.stop - int(shard.rpartition("@")[2]))

    def read(self, shard: str, positions: np.ndarray) -> Iterator[Sample]:
        first = int(shard.rpartition("@")[2])
        for scene_id in (first + positions[positions < self.count(shard)]).tolist():
            pixels, caption, label = scenes.compose_scene(scene_id, self.seed, **self.options)
            yield Sample(str(scene_id), caption, label, pixels)

    def classes(self) -> list[str]:
        return [noun.name for noun in scenes.nouns(self.options["classes"])]
