"""The one training loop: pre-training, poisoning and every defence run through it.

Data order, augmentation and text variants are functions of (seed, epoch, row), so a run that was
killed goes on from its last checkpoint with the same result as an unbroken one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor

from taclean.data.packed import Pairs
from taclean.errors import UserError
from taclean.files import replacing
from taclean.models import parameter_groups
from taclean.rng import permutation

ORDER = 0x0DE  # names the random stream of the data order
MAX_LOGIT_SCALE = math.log(100)  # as in CLIP


@dataclass(frozen=True)
class Settings:
    """How one stage trains.

    Attributes:
        lr: peak learning rate, reached after `warmup` steps and followed by a cosine down to 0.
        precision: 'bf16' (autocast) or 'fp32'.
        threads: CPU threads; fixed, since sums depend on how they are split.
        checkpoint_seconds: time between checkpoints.
    """

    lr: float
    epochs: int
    batch: int
    warmup: int
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    precision: str = "bf16"
    threads: int = 1
    checkpoint_seconds: float = 60

    @classmethod
    def of(cls, values: dict[str, Any]) -> Settings:
        """Check and take settings from a config mapping.

        Raises:
            UserError: unknown or missing key, or a value out of range; names the key.
        """
        known = {field.name for field in fields(cls)}
        for key in values.keys() - known:
            raise UserError(f"train.{key}: unknown setting; known are {', '.join(sorted(known))}")
        for key in ("lr", "epochs", "batch", "warmup"):
            if key not in values:
                raise UserError(f"train.{key}: missing; give a number")
        for key, value in values.items():
            if key == "precision":
                if value not in ("bf16", "fp32"):
                    raise UserError(f"train.precision: {value!r}; give bf16 or fp32")
            elif key == "betas":
                pair = isinstance(value, list | tuple) and len(value) == 2
                if not pair or not all(_is_number(beta) and 0 <= beta < 1 for beta in value):
                    raise UserError(f"train.betas: {value!r}; give two numbers of [0, 1)")
            else:
                whole = key in ("epochs", "batch", "threads", "warmup")
                least = "0 or more" if key in ("warmup", "weight_decay") else "above 0"
                good = _is_number(value) and (isinstance(value, int) or not whole)
                if not good or value < 0 or (value == 0 and least == "above 0"):
                    kind = "whole number" if whole else "number"
                    raise UserError(f"train.{key}: {value!r}; give a {kind} {least}")
        return cls(**{**values, "betas": tuple(values.get("betas", (0.9, 0.999)))})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Batch:
    """One step's data: positions in the set, images (B, 3, H, W) uint8, tokens (B, 77) int64."""

    epoch: int
    index: np.ndarray
    images: Tensor
    tokens: Tensor


class Objective(Protocol):
    """What a defence minimises."""

    def check(self, epochs: int, rows: int) -> None:
        """Refuse to train where the defence's artifacts do not fit the run."""
        ...

    def loss(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; `total` is minimised."""
        ...


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a cosine to 0; `step` counts from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def fingerprint(*parts: Any) -> str:
    """A short hash of what decides a run's result: no other run's checkpoint is resumed.

    Takes JSON values, arrays, tensors and dataclasses of them.
    """
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        digest.update(type(value).__name__.encode())
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous().numpy()
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        elif is_dataclass(value):
            for field in fields(value):
                add(getattr(value, field.name))
        elif isinstance(value, dict):
            for key in sorted(value):
                add(key)
                add(value[key])
        elif isinstance(value, list | tuple):
            for entry in value:
                add(entry)
        else:
            digest.update(json.dumps(value).encode())

    for part in parts:
        add(part)
    return digest.hexdigest()[:16]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a checkpoint folder for one process.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: in use by {file.read() or 'another run'}; wait for it or stop it"
            ) from None
        file.truncate(0)
        job = os.environ.get("SLURM_JOB_ID")
        file.write(f"process {os.getpid()} on {os.uname().nodename}" + (f", job {job}" * bool(job)))
        file.flush()
        yield


def train(
    model: CLIP,
    pairs: Pairs,
    objective: Objective,
    settings: Settings,
    *,
    seed: int,
    folder: Path,
    config: dict[str, Any],
    validate: Callable[[CLIP], dict[str, float]] | None = None,
    label: str = "train",
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> list[dict[str, float]]:
    """Train `model` in place.

    Args:
        folder: where checkpoints and `train.jsonl` live; not an output of any rule.
        config: all else that decides the result, the objective and its texts included. A
            checkpoint of another config, other start weights, rows or poison is moved aside.
        validate: called after each epoch (and before the first); its scores go into the history.

    Returns:
        One record per epoch: epoch, lr, loss parts, seconds, validation scores.

    Raises:
        UserError: no rows, the loss is not finite, or another process trains in `folder`.
    """
    if len(pairs) == 0:
        raise UserError(f"{label}: the training set is empty")
    objective.check(settings.epochs, len(pairs))
    torch.set_num_threads(settings.threads)
    model.to(device)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings.weight_decay),
        lr=settings.lr,
        betas=settings.betas,
        fused=True,
    )
    per_epoch = max(1, len(pairs) // settings.batch)
    steps = per_epoch * settings.epochs
    data = (pairs.ids[pairs.rows], pairs.poisoned, pairs.poison)
    own = fingerprint(config, model.state_dict(), data)
    with locked(folder):
        state = _resume(folder / "last.pt", own, model, optimizer)
        step, history = (state["step"], state["history"]) if state else (0, [])
        log = (folder / "train.jsonl").open("a", encoding="utf-8")
        _log(log, event="resumed" if state else "started", step=step, steps=steps, label=label)
        if not history and validate is not None:
            history.append({"epoch": 0, **validate(model)})
        model.train()
        started, saved, told, first = time.time(), time.time(), time.time(), step
        sums: dict[str, float] = state["sums"] if state else {}
        while step < steps:
            epoch, position = divmod(step, per_epoch)
            order = permutation(len(pairs), seed, epoch, ORDER)
            index = order[position * settings.batch : (position + 1) * settings.batch]
            images, tokens = (part.to(device) for part in pairs.batch(index))
            rate = learning_rate(step, steps, settings.lr, settings.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(
                torch.device(device).type, torch.bfloat16, enabled=settings.precision == "bf16"
            ):
                parts = objective.loss(model, Batch(epoch, index, images, tokens))
            if not torch.isfinite(parts["total"]):
                raise UserError(
                    f"{label}: the loss is {parts['total'].item()} at step {step} of {steps} "
                    f"(epoch {epoch + 1}); lower train.lr ({settings.lr:g}) or check the data"
                )
            parts["total"].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value.item()
            step += 1
            now = time.time()
            if now - told > 10:
                speed = (step - first) / (now - started)
                left = (steps - step) / speed
                say(
                    f"{label}: epoch {epoch + 1}/{settings.epochs}, step {step}/{steps}, "
                    f"{speed * settings.batch:.0f} pairs/s, about {left:.0f} s left"
                )
                told = now
            if step % per_epoch == 0:
                record = {"epoch": epoch + 1, "lr": rate}
                record |= {f"loss_{key}": value / per_epoch for key, value in sums.items()}
                if validate is not None:
                    record |= validate(model)
                    model.train()
                history.append(record)
                sums = {}
                _log(log, event="epoch", step=step, **record)
            if step % per_epoch == 0 or now - saved > settings.checkpoint_seconds:
                _save(
                    folder / "last.pt",
                    model,
                    optimizer,
                    {"fingerprint": own, "step": step, "history": history, "sums": sums},
                )
                saved = now
        for name, weight in model.state_dict().items():
            if not torch.isfinite(weight).all():
                raise UserError(
                    f"{label}: {name} is not finite after {steps} steps; lower train.lr "
                    f"({settings.lr:g})"
                )
        _log(log, event="finished", step=step, seconds=round(time.time() - started, 1))
        log.close()
    model.eval()
    return history


def _log(file: Any, **record: Any) -> None:
    file.write(json.dumps({"time": round(time.time(), 1), **record}) + "\n")
    file.flush()


def _save(path: Path, model: CLIP, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **state}, temporary
        )


def _resume(
    path: Path, wanted: str, model: CLIP, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Load the checkpoint of this very config; move one of another config, or a bad one, aside."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != wanted:
            raise KeyError("fingerprint")
        optimizer.load_state_dict(state["optimizer"])
        model.load_state_dict(state["model"])
    except Exception:
        os.replace(path, path.with_name("last.other.pt"))
        return None
    return state
