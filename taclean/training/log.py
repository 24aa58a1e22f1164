"""The log of a training: `train.jsonl`, and TensorBoard where it is asked for."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taclean.training import distributed
from taclean.util.errors import UserError
from taclean.util.files import writing


class Log:
    """The log on process 0. A resumed run goes on at `step`; TensorBoard drops what follows it."""

    def __init__(self, folder: Path, step: int, *, tensorboard: bool) -> None:
        first = distributed.rank() == 0
        self._path, self._board = (folder / "train.jsonl" if first else None), None
        if tensorboard and first:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                text = "not installed; pip install 'taclean[tensorboard]', or set it to false"
                raise UserError(f"train.tensorboard: {text}") from None
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def event(self, event: str, **record: Any) -> None:
        """Add a line: the time, what happened, and `record`."""
        if self._path:
            line = {"time": round(time.time(), 1), "event": event, **record}
            with writing(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def scalars(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add numbers to TensorBoard, if there is one; only then are tensors read."""
        if self._board:
            for key in values.keys() - {"epoch"}:
                self._board.add_scalar(f"{kind}/{key}", float(values[key]), step)

    def close(self) -> None:
        if self._board:
            self._board.close()
