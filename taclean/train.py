"""The one training loop: pre-training, poisoning and every defence run through it.

Data order, augmentation and text variants are functions of (seed, epoch, row), so a run that was
killed goes on from its last checkpoint with the same result as an unbroken one. Under torchrun
every process takes its part of each batch; see taclean.distributed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor, nn

from taclean import distributed
from taclean.config.sections import Train
from taclean.data.packed import Pairs
from taclean.errors import StoppedError, UserError
from taclean.files import replacing
from taclean.models import autocast, parameter_groups, precision_on
from taclean.rng import permutation

ORDER = 0x0DE  # names the random stream of the data order
MAX_LOGIT_SCALE = math.log(100)  # as in CLIP
AHEAD = 3  # batches that are read while a step runs
LOOK = 16  # steps between looks at what a GPU has computed: each look makes it wait for the host


@dataclass(frozen=True)
class Batch:
    """One process's part of one step's data.

    Attributes:
        index: (B,) positions in the set.
        images: (B, 3, H, W) uint8 on the device of the run.
        tokens: (B, 77) int64 in host memory: the text tower asks for their length.
        parts: the `index` of every process, in order; empty where there is one process.
    """

    epoch: int
    index: np.ndarray
    images: Tensor
    tokens: Tensor
    parts: tuple[np.ndarray, ...] = ()

    @property
    def indices(self) -> tuple[np.ndarray, ...]:
        """The `index` of every process; theirs together are the whole batch, in its order."""
        return self.parts or (self.index,)


class Objective(Protocol):
    """What a defence minimises."""

    def check(self, epochs: int, rows: int) -> None:
        """Refuse to train where the defence's artifacts do not fit the run."""
        ...

    def start(self, model: CLIP) -> None:
        """Get the model's weights before any step or resume, on the device of the run."""
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


class Feed:
    """Reads batches ahead of the loop, in the background; their order is that of the seed alone.

    Attributes:
        waited: seconds that the loop has waited for data.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        seed: int,
        first: int,
        steps: int,
        per_epoch: int,
        batch: int,
        device: torch.device,
    ) -> None:
        self._pairs, self._device, self.waited = pairs, device, 0.0
        self._schedule = self._plan(seed, first, steps, per_epoch, batch)
        self._reading: deque[tuple[int, tuple[np.ndarray, ...], Future]] = deque()
        self._pool = ThreadPoolExecutor(1, "feed")

    def _plan(
        self, seed: int, first: int, steps: int, per_epoch: int, batch: int
    ) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
        """Epoch, and every process's positions, of each step."""
        order, of = np.empty(0, np.int64), -1
        for step in range(first, steps):
            epoch, position = divmod(step, per_epoch)
            if epoch != of:
                order, of = permutation(len(self._pairs), seed, epoch, ORDER), epoch
            index = order[position * batch : (position + 1) * batch]
            yield epoch, tuple(np.split(index, distributed.world()))

    def _read(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        images, tokens = self._pairs.batch(index)
        return (images.pin_memory() if self._device.type == "cuda" else images), tokens

    def next(self) -> Batch:
        """The next step's batch."""
        while len(self._reading) < AHEAD and (planned := next(self._schedule, None)):
            epoch, parts = planned
            own = self._pool.submit(self._read, parts[distributed.rank()])
            self._reading.append((epoch, parts, own))
        started = time.perf_counter()
        epoch, parts, reading = self._reading.popleft()
        images, tokens = reading.result()
        self.waited += time.perf_counter() - started
        images = images.to(self._device, non_blocking=True)
        return Batch(epoch, parts[distributed.rank()], images, tokens, parts)

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(cancel_futures=True)


class Stop:
    """SIGTERM, of a user or a scheduler, asks the loop to save and leave.

    Attributes:
        asked: whether it came.
        at_once: raise StoppedError as it comes, where nothing is lost by it.
    """

    def __init__(self) -> None:
        self.asked = self.at_once = False

    def __call__(self, *signal_and_frame: Any) -> None:
        self.asked = True
        if self.at_once:
            raise StoppedError

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM within the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


class _Step(nn.Module):
    """The loss of a batch as a module, which is what torch averages gradients of."""

    def __init__(self, model: CLIP, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective.loss(self.model, batch)


def _compile(model: CLIP, device: torch.device) -> None:
    """Compile the towers in place: names of weights and callers stay.

    A step has as many images as any other, its texts differ in number and length: compiled for
    all of these at once, a run that goes on computes as one that never stopped.

    Raises:
        UserError: torch.compile does not work here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(2, device=device))
    except Exception as error:  # whatever torch.compile meets: no compiler, no headers, no Triton
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(
            f"train.compile: torch.compile does not work here ({reason}); install a C++ compiler "
            "(CPU) or Triton (GPU), or set it to false"
        ) from None
    model.visual.compile(dynamic=False)
    text = getattr(model, "transformer", None) or model.text
    text.compile(dynamic=True)


def _board(folder: Path, step: int) -> Any:
    """A TensorBoard writer that goes on at `step`.

    Raises:
        UserError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "train.tensorboard: TensorBoard is not installed; pip install 'taclean[tensorboard]', "
            "or set it to false"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)


def train(
    model: CLIP,
    pairs: Pairs,
    objective: Objective,
    settings: Train,
    *,
    seed: int,
    folder: Path,
    config: dict[str, Any],
    validate: Callable[[CLIP], dict[str, float]] | None = None,
    label: str = "train",
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> list[dict[str, float]]:
    """Train `model` in place.

    Args:
        folder: where checkpoints and `train.jsonl` live; not an output of any rule.
        config: all else that decides the result, the objective and its texts included. A
            checkpoint of another config, other start weights, rows or poison is moved aside.
        validate: called after each epoch (and before the first) on process 0; its scores go into
            the history.

    Returns:
        One record per epoch: epoch, lr, loss parts, validation scores.

    Raises:
        UserError: no rows, the loss is not finite, another process trains in `folder`, or the
            batch is not divisible by the number of processes.
        StoppedError: SIGTERM came; the run is saved.
    """
    device = torch.device(device)
    with distributed.together():
        if len(pairs) == 0:
            raise UserError(f"{label}: the training set is empty")
        rows, world = min(settings.batch, len(pairs)), distributed.world()
        if rows % world:
            raise UserError(
                f"train.batch: {rows} pairs cannot be shared by {world} processes; give a multiple"
            )
        objective.check(settings.epochs, len(pairs))
        torch.set_num_threads(settings.threads)
        model.to(device)
        objective.start(model)
        distributed.sync_batch_norm(model, device)
        if settings.compile:
            _compile(model, device)
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings.weight_decay),
        lr=settings.lr,
        betas=(settings.betas[0], settings.betas[1]),
        fused=True,
    )
    precision = precision_on(device, settings.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    per_epoch = max(1, len(pairs) // settings.batch)
    steps = per_epoch * settings.epochs
    data = (pairs.ids[pairs.rows], pairs.poisoned, pairs.poison)
    own = fingerprint(config, precision, model.state_dict(), data)
    path, state = folder / "last.pt", None
    first_process = distributed.rank() == 0
    stop = Stop()

    def resume() -> bool:
        nonlocal state
        state = _resume(path, own, model, optimizer, scaler)
        return state is not None

    def alone() -> None:
        stack.enter_context(locked(folder))
        for left in folder.glob(".last.*.tmp.pt"):  # of a process that was killed as it wrote
            left.unlink()

    with ExitStack() as stack:
        distributed.on_first(alone)
        resumed = distributed.on_first(resume)
        with distributed.together():
            if resumed and not state and not resume():
                raise UserError(f"{path}: not every process can read it; share the folder")
        step, history = (state["step"], state["history"]) if state else (0, [])
        # What lies on the device is read from it as rarely as can be.
        sums: dict[str, Any] = state["sums"] if state else {}
        log = stack.enter_context(
            (folder / "train.jsonl" if first_process else Path(os.devnull)).open(
                "a", encoding="utf-8"
            )
        )
        board = None
        with distributed.together():
            if settings.tensorboard and first_process:
                board = _board(folder, step)
                stack.callback(board.close)
        begun = "resumed" if state else "started"
        _log(log, event=begun, step=step, steps=steps, label=label, precision=precision)
        state = None  # as large as model and optimizer
        compute = distributed.average_gradients(_Step(model, objective))
        look = LOOK if device.type == "cuda" else 1
        feed = Feed(
            pairs, seed=seed, first=step, steps=steps, per_epoch=per_epoch, batch=settings.batch,
            device=device,
        )  # fmt: skip
        stack.callback(feed.close)
        stack.enter_context(stop.listening())

        def save() -> None:
            values = {key: float(value) for key, value in sums.items()}
            if first_process:
                found = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                found |= {"scaler": scaler.state_dict(), "fingerprint": own}
                _save(path, {**found, "step": step, "history": history, "sums": values})

        def scored() -> dict[str, float]:
            stop.at_once = True  # a scheduler gives half a minute; validation may take longer
            try:
                if stop.asked:
                    raise StoppedError
                with torch.compiler.set_stance("force_eager"):  # a few batches of any size
                    return validate(model) if validate else {}
            finally:
                stop.at_once = False

        def leave() -> StoppedError:
            save()
            _log(log, event="interrupted", step=step)
            text = f"{label}: stopped by SIGTERM at step {step} of {steps}, saved; the same command"
            return StoppedError(f"{text} goes on from there" if first_process else "")

        def finite(value: Any) -> None:
            if not math.isfinite(value):
                raise distributed.error_of_all(
                    f"{label}: the loss is {float(value)} at step {step} of {steps} "
                    f"(epoch {step // per_epoch + 1}); lower train.lr ({settings.lr:g}) or check "
                    "the data"
                )

        started, saved, told, first = time.time(), time.time(), time.time(), step
        since, waited = started, 0.0  # of this epoch
        model.train()
        while True:
            epoch, position = divmod(step, per_epoch)
            if position == 0 and len(history) < epoch + (validate is not None):
                record: dict[str, float] = {"epoch": epoch}
                if epoch:
                    record["lr"] = learning_rate(step - 1, steps, settings.lr, settings.warmup)
                    record |= {f"loss_{key}": float(sums[key]) / per_epoch for key in sums}
                share = (feed.waited - waited) / max(time.time() - since, 1e-9)
                try:
                    record |= distributed.on_first(scored)
                except StoppedError:
                    raise leave() from None
                model.train()
                history.append(record)
                sums = {}
                if epoch:
                    _log(log, event="epoch", step=step, data_wait=round(share, 4), **record)
                    save()
                if board:
                    for key in record.keys() - {"epoch"}:
                        board.add_scalar(f"epoch/{key}", record[key], step)
                saved = since = time.time()
                waited = feed.waited
            if step == steps:
                break
            batch = feed.next()
            rate = learning_rate(step, steps, settings.lr, settings.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with autocast(device, precision):
                parts = compute(batch)
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value.detach().double()
            looking = (step + 1) % look == 0 or (step + 1) % per_epoch == 0
            if looking:
                finite((parts if look == 1 else sums)["total"].detach())
            scaler.scale(parts["total"]).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
            step += 1
            now = time.time()
            if now - told > 10:
                speed = (step - first) / (now - started)
                left = (steps - step) / speed
                if first_process:
                    say(
                        f"{label}: epoch {epoch + 1}/{settings.epochs}, step {step}/{steps}, "
                        f"{speed * settings.batch:.0f} pairs/s, about {left:.0f} s left"
                    )
                if board:
                    board.add_scalar("step/loss", parts["total"].item(), step)
                    board.add_scalar("step/lr", rate, step)
                    board.add_scalar("step/pairs_per_second", speed * settings.batch, step)
                told = now
            if looking and distributed.any_of_us(stop.asked, device):
                raise leave()
            if looking and step % per_epoch and now - saved > settings.checkpoint_seconds:
                save()
                saved = time.time()
        for name, weight in model.state_dict().items():
            if not torch.isfinite(weight).all():
                raise distributed.error_of_all(
                    f"{label}: {name} is not finite after {steps} steps; lower train.lr "
                    f"({settings.lr:g})"
                )
        _log(log, event="finished", step=step, seconds=round(time.time() - started, 1))
    model.eval()
    return history


def _log(file: Any, **record: Any) -> None:
    file.write(json.dumps({"time": round(time.time(), 1), **record}) + "\n")
    file.flush()


def _save(path: Path, state: dict[str, Any]) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # whole after a crash of the machine, too
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot write the checkpoint ({reason}); make room") from None


def _resume(
    path: Path,
    wanted: str,
    model: CLIP,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> dict[str, Any] | None:
    """Load the checkpoint of this very config; move one of another config, or a bad one, aside."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != wanted:
            raise KeyError("fingerprint")
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state.get("scaler", {}))
        model.load_state_dict(state["model"])
    except Exception:
        os.replace(path, path.with_name("last.other.pt"))
        return None
    return state
