"""A full disk ends in one line, whatever writes; what was there before stays."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from taclean.clip.models import save_weights
from taclean.training.log import Log
from taclean.training.resume import Checkpoints
from taclean.util.errors import UserError
from taclean.util.files import replacing, write_json
from tests.helpers import refused

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


def full(path: Path) -> Path:
    """Make what `replacing(path)` writes to a device that is always full."""
    path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}").symlink_to("/dev/full")
    return path


def table(path: Path) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([[1.5] * 9] * 9999)


def array(path: Path) -> None:
    with replacing(path) as temporary:
        np.save(temporary, np.zeros(9999))


def archive(path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, a=np.zeros(9999))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("history.csv", table), ("variants.npy", array), ("samples.npz", archive),
        ("scores.json", lambda path: write_json(path, [1] * 9999)),
    ],
)  # fmt: skip
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path, name, write) -> None:
    path = full(tmp_path / name)
    path.write_text("before")
    said = refused(lambda: write(path))
    assert said.startswith(f"{path}: cannot be written, the disk is full (")
    assert said.endswith("); make room and run it again")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_find_no_room(tiny, tmp_path, monkeypatch) -> None:
    def none_left(*arguments: object, **options: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    path = tmp_path / "model.safetensors"
    path.write_text("before")
    monkeypatch.setattr(safetensors.torch, "save_file", none_left)
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be written, the disk is full"):
        save_weights(tiny, path, name="test-tiny")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_finds_no_room(tmp_path: Path) -> None:
    """As of torch's own writer: its error has no number and says nothing of a disk."""

    class Full:
        def state_dict(self) -> dict[str, torch.Tensor]:
            full(tmp_path / "last.pt")
            return {"a": torch.zeros(99_999)}

    with pytest.raises(UserError, match=r"last\.pt: cannot.* \(.*\); make room"):
        Checkpoints(tmp_path, "mark").save(Full())
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_finds_no_room(tmp_path: Path) -> None:
    log = Log(tmp_path, 0, tensorboard=False)
    log.event("started", step=0)
    assert json.loads((tmp_path / "train.jsonl").read_text())["event"] == "started"
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "train.jsonl").symlink_to("/dev/full")
    refused(lambda: log.event("epoch", step=1), "train.jsonl: cannot be written, the disk is full")


def test_another_error_is_itself_and_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")

    def fail() -> None:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise ConnectionError(104, "reset by peer")

    with pytest.raises(ConnectionError):
        fail()
    assert (tmp_path / "a").read_text() == "before"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: write_json(tmp_path / "pipe", {}), "nothing can be written there")
