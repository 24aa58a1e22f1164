"""The one training loop: pre-training, poisoning and every defence run through it.

Data order, augmentation and text variants are functions of (seed, epoch, row), so a run that was
killed goes on from its last checkpoint with the same result as an unbroken one: bitwise on a CPU,
on a GPU up to rounding or, with `train.deterministic`, bitwise as well. Under torchrun every
process takes its part of each batch; see taclean.training.distributed.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taclean.clip import CLIP
from taclean.clip.encode import autocast, precision_on
from taclean.clip.models import parameter_groups
from taclean.config.schema import Train
from taclean.data.augment import mild
from taclean.data.split import Pairs
from taclean.defenses import Defense
from taclean.defenses.hooks import finished, learning, loss_of, prepared, resting, share_of
from taclean.training import distributed
from taclean.training.device import described
from taclean.training.loader import Batch, Feed
from taclean.training.log import Log
from taclean.training.muon import Muon, Together, matrices
from taclean.training.resume import Checkpoints
from taclean.training.signals import Stop
from taclean.util.errors import StoppedError, UserError, first_line
from taclean.util.fingerprint import fingerprint
from taclean.util.progress import Progress, Say, say
from taclean.util.rng import uniform

Validate = Callable[[CLIP], dict[str, float]]

MAX_LOGIT_SCALE = math.log(100)  # as in CLIP
SYNC_EVERY = 16  # steps between waits for a GPU; after each it has nothing to do for a moment


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Return the rate of `step` (from 0): linear warm-up to `peak`, then a cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def _optimizers(model: CLIP, settings: Train) -> list[torch.optim.Optimizer]:
    """Return AdamW for all weights, or Muon for the matrices and AdamW for the others."""
    decay, (beta1, beta2) = settings.weight_decay, settings.betas
    own = matrices(model) if settings.optimizer == "muon" else []
    groups = parameter_groups(model, decay, without=own)
    adamw = torch.optim.AdamW(groups, settings.lr, (beta1, beta2), fused=True)
    found = [adamw, Muon(own, settings.lr, decay)] if own else [adamw]
    return [one for one in found if any(group["params"] for group in one.param_groups)]


def _train_mode(model: CLIP) -> None:
    """Set training mode, but for the parts none of whose weights learn."""
    model.train()
    for part in model.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


class _Loss(nn.Module):
    """The loss of a batch as a module, which is what torch averages gradients of."""

    def __init__(self, model: CLIP, objective: Defense) -> None:
        super().__init__()
        self.model, self.objective, self.weights = model, objective, [*model.parameters()]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return loss_of(self.objective, self.model, batch, self.weights)


def _resized(images: Tensor, side: int) -> Tensor:
    from torchvision.transforms.v2.functional import resize  # takes a second to import

    return resize(images, [side, side], antialias=True)


def choose_kernels(deterministic: bool) -> None:
    """Let a GPU take the fastest kernels, or those that always sum in the same order."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first product
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic  # the shapes of images are fixed
    torch.backends.cuda.enable_mem_efficient_sdp(not deterministic)  # sums gradients in any order
    torch.backends.cuda.enable_cudnn_sdp(not deterministic)


def _compile(model: CLIP, device: torch.device) -> None:
    """Compile the towers in place: names of weights and callers stay.

    The number of images is fixed; the number of texts and their lengths vary. The text tower is
    compiled once for all of them, so that a resumed run computes as one that never stopped.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(2, device=device))
    except Exception as error:  # whatever torch.compile meets: no compiler, no headers, no Triton
        text = f"torch.compile does not work here ({first_line(error)})"
        cure = "install a C++ compiler (CPU) or Triton (GPU), or set it to false"
        raise UserError(f"train.compile: {text}; {cure}") from None
    model.visual.compile(dynamic=False)
    text = getattr(model, "transformer", None) or model.text
    text.compile(dynamic=True)


class Training:
    """A model in training: `step` is where it learns, `train` is the loop around it.

    Args:
        prompts: see `Defense.prepare`.

    Attributes:
        done: steps taken so far, of `steps`; `per_epoch` are an epoch.
        history: the records of the epochs that ended, and of `score_at`.
        synced: whether the last step waited for the device, to see that the loss is finite. The
            loop saves and leaves after such steps only.
    """

    def __init__(
        self,
        model: CLIP,
        pairs: Pairs,
        objective: Defense,
        settings: Train,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        label: str = "train",
        prompts: Tensor | None = None,
    ) -> None:
        """Check that the run can be trained, and set all up for its first step."""
        self.model, self.pairs, self.objective = model, pairs, objective
        self.settings, self.label = settings, label
        self.device, self._stream = torch.device(device), (seed, distributed.rank())
        batch, epochs = settings.batch, settings.epochs
        self.feed = Feed(pairs, seed=seed, batch=batch, epochs=epochs, device=self.device)
        self.per_epoch, self.steps = self.feed.per_epoch, self.feed.steps
        with distributed.together():
            self._check()
            torch.set_num_threads(settings.threads)
            if self.device.type == "cuda":
                choose_kernels(settings.deterministic)
            model.to(self.device)
        prepared(objective, model.eval(), pairs, prompts)
        learns = learning(objective, model)
        for weight in model.parameters():
            weight.requires_grad_(weight in learns)
        with distributed.together():
            distributed.sync_batch_norm(model, self.device)
            if settings.compile:
                _compile(model, self.device)
        self._optimizers = _optimizers(model, settings)
        self._together = Together(self._optimizers)
        self.precision = precision_on(self.device, settings.precision)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self._loss: nn.Module = _Loss(model, objective)
        if distributed.world() > 1:  # BatchNorm's statistics are those of the whole batch already
            self._loss = distributed.averaged(self._loss)
        self._sync_every = SYNC_EVERY if self.device.type == "cuda" else 1
        self.done, self.synced = 0, False
        self.history: list[dict[str, float]] = []
        # Losses of the epoch; they stay on the device, which is read as rarely as can be.
        self._sums: dict[str, Any] = {}
        _train_mode(model)

    def _check(self) -> None:
        pairs, settings, steps = self.pairs, self.settings, self.steps
        if len(pairs) == 0:
            raise UserError(f"{self.label}: the training set is empty")
        rows, world = min(settings.batch, len(pairs)), distributed.world()
        if rows % world:
            text = f"{rows} pairs cannot be shared by {world} processes; give a multiple"
            raise UserError(f"train.batch: {text}")
        if settings.warmup >= steps:
            size = f"{len(pairs)} rows, batch {settings.batch}, epochs {settings.epochs}"
            text = f"{settings.warmup} steps, but {self.label} has {steps} in all ({size})"
            raise UserError(f"train.warmup: {text}; give less, or more epochs")
        for side in settings.sizes:
            try:
                self.model.eval().visual(torch.zeros(1, 3, side, side))
            except Exception:  # whatever a tower raises that has weights for places
                text = f"the model takes no pictures of {side} px; leave it out"
                raise UserError(f"train.sizes: {text}, or choose a tower that does") from None
        self.objective.check(settings.epochs, len(pairs))

    @property
    def epoch(self) -> int:
        """Epochs that have ended."""
        return self.done // self.per_epoch

    @property
    def between_epochs(self) -> bool:
        """Return whether no epoch is under way, as before the first step and after each epoch."""
        return self.done % self.per_epoch == 0

    def rate(self, step: int) -> float:
        share = share_of(self.objective, step // self.per_epoch)
        return share * learning_rate(step, self.steps, self.settings.lr, self.settings.warmup)

    @contextmanager
    def _shown(self, batch: Batch) -> Iterator[Batch]:
        """Give the batch in the size of this part of the run, which the model takes meanwhile."""
        images, sides, visual = batch.images, self.settings.sizes, self.model.visual
        part, full = self.done * (len(sides) + 1) // self.steps, visual.image_size
        if part < len(sides):
            images, visual.image_size = _resized(images, sides[part]), sides[part]
        if self.settings.augment:
            images = mild(images, batch.index, self._stream[0], batch.epoch)
        yield replace(batch, images=images)
        visual.image_size = full

    def step(self) -> dict[str, Tensor]:
        """Take one step on the next batch and return the parts of its loss, on the device.

        A loss that is not finite is found at once on a CPU, and a few steps later on a GPU.
        """
        batch = self.feed.batch(self.done)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate(self.done)
        # Dropout, where a model has it, follows from the seed and the step, as all else.
        torch.manual_seed(int(2**24 * uniform(torch.tensor([self.done]), 1, *self._stream)))
        with autocast(self.device, self.precision), self._shown(batch) as batch:
            parts = self._loss(batch)
        for key, value in parts.items():
            self._sums[key] = self._sums.get(key, 0.0) + value.detach().double()
        after = self.done + 1
        self.synced = after % self._sync_every == 0 or after % self.per_epoch == 0
        if self.synced:
            value = float((parts if self._sync_every == 1 else self._sums)["total"].detach())
            if not math.isfinite(value):
                at = f"step {self.done} of {self.steps} (epoch {self.epoch + 1})"
                cure = f"lower train.lr ({self.settings.lr:g}) or check the data and the loss"
                raise distributed.error_of_all(f"{self.label}: the loss is {value} at {at}; {cure}")
        self._scaler.scale(parts["total"]).backward()
        if all(weight.grad is None for weight in self.model.parameters()):
            text = "'total' depends on no weight that learns; compute it from the model's outputs"
            raise distributed.error_of_all(f"{type(self.objective).__name__}.loss: {text}")
        for weight in (rest := resting(self.objective, self.model, self.epoch)):
            weight.grad = None
        if not self.done and distributed.rank() == 0:  # once, as it takes a millisecond
            own = {n: w for n, w in self.model.named_parameters() if w.requires_grad}
            if unused := [n for n, w in own.items() if w.grad is None and w not in rest]:
                what = f"{len(unused)} weights that learn get no gradient, such as {unused[0]}"
                say(f"{self.label}: {what}; use them in the loss, or leave them out by learns")
        self._scaler.step(self._together)
        self._scaler.update()
        self._together.zero_grad()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
            if after == self.steps:  # before anything saves or scores the weights
                finished(self.objective, self.model)
        self.done = after
        return parts

    def check_weights(self) -> None:
        """Raise a UserError where a weight is not finite."""
        for name, weight in self.model.state_dict().items():
            if not torch.isfinite(weight).all():
                text = f"{self.label}: {name} is not finite after {self.steps} steps"
                cure = f"lower train.lr ({self.settings.lr:g}), or look at the defence's finish"
                raise distributed.error_of_all(f"{text}; {cure}")

    def recorded(self, scored: bool) -> bool:
        """Return whether the history has all records that are due at this step.

        If `scored`, there are scores, which are due before the first step and at `score_at`, too.
        """
        due = self.between_epochs and self.done > 0
        due |= scored and (self.done == 0 or self.done in self.settings.score_at)
        last = round(self.history[-1]["epoch"] * self.per_epoch) if self.history else -1
        return not due or last == self.done

    def record(self, scores: dict[str, float]) -> dict[str, float]:
        """Add a record to the history and return it; at the end of an epoch, begin the next sums.

        It has epochs so far and scores; at the end of an epoch also its last lr and mean losses.
        """
        record: dict[str, float] = {"epoch": self.done / self.per_epoch}
        if self.settings.score_at:
            record["step"] = self.done
        if self.between_epochs:
            record["epoch"] = self.epoch
            if self.epoch:
                record["lr"] = self.rate(self.done - 1)
                record |= {f"loss_{k}": float(v) / self.per_epoch for k, v in self._sums.items()}
            self._sums = {}
            self.feed.waited = 0.0
        self.history.append(record | scores)
        _train_mode(self.model)
        return self.history[-1]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, for torch.save."""
        return {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "scaler": self._scaler.state_dict(),
            "step": self.done,
            "history": self.history,
            "sums": {key: float(value) for key, value in self._sums.items()},
            "kept": self.objective.kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`. The model is loaded last: it stays as it is if another part fails."""
        for optimizer, had in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(had)
        self._scaler.load_state_dict(state.get("scaler", {}))
        done, history, sums = state["step"], state["history"], state["sums"]
        self.model.load_state_dict(state["model"])
        self.done, self.history, self._sums = done, history, sums
        self.objective.kept.clear()
        self.objective.kept.update(state.get("kept", {}))


def train(
    training: Training, *, folder: Path, config: dict[str, Any], validate: Validate | None = None
) -> list[dict[str, float]]:
    """Train the model in place; where the defence cannot work, the model stays as it is.

    Args:
        folder: where checkpoints and `train.jsonl` live; not an output of any rule.
        config: all else that decides the result, the objective and its texts included. A
            checkpoint of another config, other start weights, rows or poison is moved aside.
        validate: called on process 0 before the first epoch, after each one and at `score_at`; its
            scores go into the history.

    Returns:
        One record per epoch: epoch, lr, loss parts, validation scores. The records of epoch 0 and
        of `score_at` lack lr and loss. A StoppedError says that SIGTERM or the job's end came.
    """
    model, pairs, objective = training.model, training.pairs, training.objective
    settings, label, first_process = training.settings, training.label, distributed.rank() == 0
    data = (pairs.ids[pairs.rows], pairs.poisoned, pairs.poison)
    mark = fingerprint(config, training.precision, model.state_dict(), data)
    checkpoints = Checkpoints(folder, mark)
    with ExitStack() as stack:
        stack.callback(training.feed.close)
        checkpoints.hold(stack)
        begun = "resumed" if checkpoints.resume(training) else "started"
        steps = 0 if objective.failed else training.steps
        with distributed.together():
            log = Log(folder, training.done, tensorboard=settings.tensorboard)
        stack.callback(log.close)
        precision = training.precision
        where = {"precision": precision, "device": described(training.device)}
        log.event(begun, step=training.done, steps=steps, label=label, **where)
        stop = stack.enter_context(Stop().listening())
        shown: Say = say if first_process else lambda line: None
        why = f": {objective.failed}" if objective.failed else ""
        shown(f"{label}: {begun} at step {training.done} of {steps} in {precision}{why}")
        progress = Progress(label, steps, "steps", shown, first=training.done)
        started = epoch_began = saved = time.time()

        def scores() -> dict[str, float]:
            """Validate; a signal ends it at once, as a scheduler leaves half a minute."""
            with stop.at_once(), torch.compiler.set_stance("force_eager"):  # batches of any size
                return validate(model) if validate else {}

        def leave() -> StoppedError:
            """Save, and return the error to leave with."""
            checkpoints.save(training)
            log.event("interrupted", step=training.done)
            text = f"{label}: stopped by {stop.why} at step {training.done} of {steps}, saved"
            text += "; the same command goes on from there"
            return StoppedError(text if first_process else "")

        while True:
            if not training.recorded(bool(validate)):
                share = training.feed.waited / max(time.time() - epoch_began, 1e-9)
                try:
                    record = training.record(distributed.on_first(scores))
                except StoppedError:
                    raise leave() from None
                if training.between_epochs:
                    if training.epoch:
                        more = {"step": training.done, "data_wait": round(share, 4)}
                        log.event("epoch", **more | record)
                        checkpoints.save(training)
                    epoch_began = saved = time.time()
                log.scalars("epoch", training.done, record)
            if training.done == steps:
                break
            epoch, parts = training.epoch + 1, training.step()
            pull = progress.speed(training.done) * settings.batch
            note = f"epoch {epoch}/{settings.epochs}, {pull:.0f} pairs/s"
            if progress.update(training.done, note):
                values = {"loss": parts["total"], "lr": training.rate(training.done - 1)}
                log.scalars("step", training.done, {**values, "pairs_per_second": pull})
            if training.synced and distributed.any_of_us(stop.asked, training.device):
                raise leave()
            late = time.time() - saved > settings.checkpoint_seconds
            if training.synced and late and not training.between_epochs:
                checkpoints.save(training)
                saved = time.time()
        training.check_weights()
        log.event("finished", step=training.done, seconds=round(time.time() - started, 1))
    model.eval()
    return training.history
