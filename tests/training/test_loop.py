"""The training loop: schedule, optimiser, and checkpoints that make a killed run whole."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from taclean.clip import encode, models
from taclean.config.schema import Train
from taclean.data.split import Pairs
from taclean.defenses import make_defense
from taclean.training.loader import Feed
from taclean.training.loop import Training, fingerprint, learning_rate, train
from taclean.training.signals import MARGIN
from taclean.util.errors import StoppedError, UserError
from taclean.util.files import locked
from taclean.util.progress import Progress
from tests.helpers import Dies, refused

SETTINGS = Train(lr=1e-3, epochs=2, batch=16, warmup=3, checkpoint_seconds=1e9)


def changed(settings: Train = SETTINGS, **values) -> Train:
    return settings.model_copy(update=values)


def plain(epochs: int, batch: int, **values) -> Train:
    return changed(epochs=epochs, batch=batch, warmup=0, **values)


def events(folder: Path, *names: str) -> list[dict]:
    lines = (folder / "train.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if not names or event["event"] in names]


# ---- the loop, on a model that shows what it does ------------------------------------------------


class Toy(nn.Module):
    """A vector `w`, a matrix `m` and a logit_scale."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.m = nn.Parameter(torch.ones(2, 2))
        self.logit_scale = nn.Parameter(torch.tensor(scale))
        self.visual = SimpleNamespace(image_size=64)


class Nothing:
    """The rest of an objective: nothing to check, prepare or finish, and all weights learn."""

    failed, kept = "", {}
    pace, rests = staticmethod(lambda epoch: 1.0), staticmethod(lambda *given: ())
    check = prepare = finish = staticmethod(lambda *given: None)

    def learns(self, model):
        return model.parameters()


class Record(Nothing):
    """An objective that notes what it sees; `make(model)` gives the loss."""

    def __init__(self, make) -> None:
        self.make, self.seen, self.batches = make, [], []

    def loss(self, model, batch):
        self.seen.append({k: v.detach().clone() for k, v in model.named_parameters()})
        self.batches.append(batch)
        return {"total": self.make(model)}


def zero(model) -> torch.Tensor:
    return 0 * sum(parameter.sum() for parameter in model.parameters())


def falling(model) -> torch.Tensor:
    """A loss whose gradient is 1 for each part of `w`."""
    return model.w.sum() + zero(model)


def run(model, pairs, objective, settings, folder, *, config=None, validate=None, **more):
    training = Training(model, pairs, objective, settings, **{"seed": 0, **more})
    return train(training, folder=folder, config=config or {"a": 1}, validate=validate)


def test_the_warm_up_is_really_followed(small_pairs, tmp_path):
    """With a constant gradient Adam moves each weight by exactly the learning rate."""
    settings = Train(lr=0.1, epochs=3, batch=16, warmup=5)
    objective, model = Record(falling), Toy()
    history = run(model, small_pairs, objective, settings, tmp_path)
    places = [*(seen["w"][0].item() for seen in objective.seen), model.w[0].item()]
    moves = [a - b for a, b in itertools.pairwise(places)]
    wanted = [0.02, 0.04, 0.06, 0.08, 0.1]
    wanted += [0.05 * (1 + math.cos(math.pi * k / 7)) for k in range(7)]
    assert moves == pytest.approx(wanted, abs=1e-6)
    assert [record["lr"] for record in history] == pytest.approx([wanted[i] for i in (3, 7, 11)])


def test_pictures_grow_over_the_run_as_the_model_is_told(small_pairs, tmp_path):
    objective, model = Record(falling), models.create("rn10-48")
    model.w = nn.Parameter(torch.zeros(1))
    model.visual.image_size, sides = (32, 32), []  # as the pictures are
    objective.make = lambda model: (sides.append(model.visual.image_size), falling(model))[1]
    settings = Train(lr=1e-3, epochs=3, batch=16, warmup=0, sizes=[40, 48])
    run(model, small_pairs, objective, settings, tmp_path)
    assert sides == 4 * [40] + 4 * [48] + 4 * [(32, 32)]
    assert [batch.images.shape[-1] for batch in objective.batches] == 4 * [40] + 4 * [48] + 4 * [32]


def test_sizes_that_a_tower_cannot_take_are_refused(tiny, small_pairs, tmp_path):
    settings = Train(lr=1e-3, epochs=3, batch=16, warmup=0, sizes=[96])
    given = (tiny, small_pairs, Record(zero), settings, tmp_path)
    refused(lambda: run(*given), "train.sizes: the model takes no pictures of 96 px; leave it out")


def test_augmented_pictures_are_a_function_of_seed_epoch_and_row(small_pairs, tmp_path):
    settings, seen = Train(lr=1e-3, epochs=2, batch=48, warmup=0, augment=True), []
    for seed in (0, 0, 1):
        objective = Record(falling)
        run(Toy(), small_pairs, objective, settings, tmp_path / str(len(seen)), seed=seed)
        order = [batch.index.argsort() for batch in objective.batches]
        seen.append([b.images[o] for b, o in zip(objective.batches, order, strict=True)])
    assert torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[0][0], seen[2][0])
    assert not torch.equal(seen[0][0], seen[0][1])


def test_batches_that_several_threads_read_come_in_their_order(small_pairs):
    """As on a GPU."""
    one, several = (
        Feed(small_pairs, seed=0, batch=16, epochs=5, device=torch.device("cpu")) for _ in range(2)
    )
    several._pool, several._ahead = ThreadPoolExecutor(6), 6
    for step in range(3, one.steps):
        wanted, got = one.batch(step), several.batch(step)
        assert (got.epoch, got.index.tolist()) == (wanted.epoch, wanted.index.tolist())
        assert torch.equal(got.images, wanted.images)
    several.close()


def test_decay_is_on_matrices_only(small_pairs, tmp_path):
    model = Toy()
    nn.init.ones_(model.w)
    run(model, small_pairs, Record(zero), plain(1, 16, lr=0.1, weight_decay=0.5), tmp_path)
    shrunk = math.prod(1 - 0.5 * learning_rate(step, 4, 0.1, 0) for step in range(4))
    assert model.m.detach().flatten().tolist() == pytest.approx([shrunk] * 4, rel=1e-6)
    assert model.w.tolist() == [1, 1]
    assert model.logit_scale.item() == 1


@pytest.mark.parametrize(("sign", "bound"), [(-1, math.log(100)), (1, 0.0)])
def test_logit_scale_is_clamped(small_pairs, tmp_path, sign, bound):
    model, objective = Toy(), Record(lambda m: sign * m.logit_scale + zero(m))
    run(model, small_pairs, objective, plain(1, 16, lr=50.0), tmp_path)
    assert model.logit_scale.item() == pytest.approx(bound, abs=1e-6)
    assert objective.seen[1]["logit_scale"].item() == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.9, 0.98)])
def test_settings_reach_the_optimiser(small_pairs, tmp_path, betas):
    """A gradient that turns round: the steps tell both betas apart."""
    gradients, model = [1.0, -1.0, -1.0, 2.0], Toy()
    settings = plain(1, 16, lr=0.1, weight_decay=0.2, betas=list(betas))
    left = iter(gradients)
    run(model, small_pairs, Record(lambda m: next(left) * m.m.sum() + zero(m)), settings, tmp_path)
    weight, m, v = 1.0, 0.0, 0.0
    for step, gradient in enumerate(gradients):
        lr = learning_rate(step, 4, 0.1, 0)
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        first, second = m / (1 - betas[0] ** (step + 1)), v / (1 - betas[1] ** (step + 1))
        weight = weight * (1 - 0.2 * lr) - lr * first / (math.sqrt(second) + 1e-8)
    assert model.m[0, 0].item() == pytest.approx(weight, rel=1e-5)


def test_each_epoch_sees_each_row_once_in_its_own_order(small_pairs, tmp_path):
    orders = []
    for seed in (5, 6):
        objective = Record(zero)
        run(Toy(), small_pairs, objective, plain(2, 16), tmp_path / str(seed), seed=seed)
        batches = objective.batches
        assert [batch.epoch for batch in batches] == [0] * 4 + [1] * 4
        orders += [np.concatenate([b.index for b in half]) for half in (batches[:4], batches[4:])]
    for order in orders:
        assert sorted(order) == list(range(64))
    for one, other in itertools.combinations(orders, 2):
        assert (one != other).any()
    for batch in batches:
        images, tokens = small_pairs.batch(batch.index)
        assert torch.equal(batch.images, images)
        assert torch.equal(batch.tokens, tokens)


def test_rows_that_fill_no_batch_are_left_out_but_a_small_set_is_one_batch(small_pairs, tmp_path):
    for rows, epochs, sizes in ((64, 1, [24, 24]), (5, 2, [5, 5])):
        objective, pairs = Record(zero), small_pairs.take(np.arange(rows))
        run(Toy(), pairs, objective, plain(epochs, 24), tmp_path / str(rows))
        assert [len(batch.index) for batch in objective.batches] == sizes


def test_history_has_the_means_of_the_losses_and_the_scores(small_pairs, tmp_path):
    values, modes, scored = iter(range(8)), [], itertools.count(1)

    def validate(model):
        model.eval()
        return {"CA@1": float(next(scored))}

    def make(model):
        modes.append(model.training)
        return next(values) + zero(model)

    model = Toy().eval()
    history = run(model, small_pairs, Record(make), plain(2, 16), tmp_path, validate=validate)
    assert [record["epoch"] for record in history] == [0, 1, 2]
    assert [record["CA@1"] for record in history] == [1, 2, 3]
    assert [record.get("loss_total") for record in history] == [None, 1.5, 5.5]
    assert modes == [True] * 8  # also after a validation
    assert not model.training


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_and_names_the_lr(small_pairs, tmp_path, value):
    steps = iter([0.0, value])
    with pytest.raises(UserError, match=r"step 1 of 8.*train\.lr \(0\.001\)"):
        run(Toy(), small_pairs, Record(lambda m: next(steps) + zero(m)), SETTINGS, tmp_path)
    with locked(tmp_path):  # the folder is free again
        pass


def test_weights_that_are_not_finite_at_the_end_are_an_error(small_pairs, tmp_path):
    model = Toy()
    objective = Record(lambda m: (m.w * 0).sqrt().sum() + zero(m))  # finite; its gradient is not
    refused(lambda: run(model, small_pairs, objective, plain(1, 64), tmp_path), "lr")


def test_an_empty_set_is_refused(small_pairs, tmp_path):
    with pytest.raises(UserError, match="empty"):
        run(Toy(), small_pairs.take(np.arange(0)), Record(zero), SETTINGS, tmp_path)


@pytest.mark.parametrize(("rows", "warmup", "good"), [
    (64, 7, True), (64, 8, False), (64, 9, False), (5, 1, True), (5, 2, False),
])  # fmt: skip
def test_a_warm_up_that_never_ends_is_refused(small_pairs, tmp_path, rows, warmup, good):
    objective, settings = Record(zero), changed(warmup=warmup)
    pairs = small_pairs.take(np.arange(rows))
    if good:
        run(Toy(), pairs, objective, settings, tmp_path)
        return
    steps = 8 if rows == 64 else 2
    wanted = f"train.warmup: {warmup} steps, but train has {steps} in all ({rows} rows, batch 16,"
    refused(lambda: run(Toy(), pairs, objective, settings, tmp_path), wanted)
    assert objective.seen == []
    assert list(tmp_path.iterdir()) == []


# ---- the same again, and after a kill ------------------------------------------------------------


MUON = changed(optimizer="muon")
OPTIMIZED = {"ft": MUON, "taclean": SETTINGS}


def validate(model):
    return {"norm": float(model.text_projection.detach().norm())}


Result = tuple[dict[str, torch.Tensor], list[dict]]


@pytest.fixture(scope="module")
def go(tiny_name, small_split):
    """Return a function that trains the tiny model, and returns its weights and its history."""

    def trained(objective, settings, folder, validate=validate) -> Result:
        model, pairs = models.create(tiny_name, 0), Pairs.open(small_split)
        history = run(model, pairs, objective, settings, folder, validate=validate)
        return model.state_dict(), history

    return trained


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, go, tiny_name, texts) -> dict[str, Result]:
    """Weights and history of runs that nothing disturbed, by defence."""
    torch.set_num_threads(1)
    start, out = models.create(tiny_name, 0).state_dict(), {}
    for name, settings in OPTIMIZED.items():
        out[name] = go(make_defense(name, 0, texts), settings, tmp_path_factory.mktemp(name))
        weights = out[name][0].items()
        assert sum(not torch.equal(value, start[key]) for key, value in weights) > 50
    return out


def same(result: Result, wanted: Result) -> None:
    weights, history = result
    assert [key for key in weights if not torch.equal(weights[key], wanted[0][key])] == []
    assert history == wanted[1]


@pytest.mark.parametrize(  # saved after each epoch of four steps, or after each step
    ("seconds", "step"), [(1e9, 2), (1e9, 4), (1e9, 6), (1e-9, 2), (1e-9, 6)]
)
@pytest.mark.parametrize("name", ["ft", "taclean"])
def test_a_killed_run_goes_on_to_the_same_end(name, seconds, step, unbroken, go, texts, tmp_path):
    settings = changed(OPTIMIZED[name], checkpoint_seconds=seconds)
    objective = make_defense(name, 0, texts)
    with pytest.raises(KeyboardInterrupt):
        go(Dies(objective, step), settings, tmp_path)
    torch.manual_seed(99)  # the global generators have no say
    np.random.seed(99)
    same(go(objective, settings, tmp_path), unbroken[name])
    starts = [(e["event"], e["step"]) for e in events(tmp_path, "started", "resumed")]
    kept = step if seconds < 1 else step // 4 * 4
    assert starts == [("started", 0), ("resumed" if kept else "started", kept)]


def test_val_is_scored_at_steps_too_and_a_killed_run_has_the_same_scores(small_pairs, tmp_path):
    settings = changed(score_at=[1, 4, 6], checkpoint_seconds=1e-9)
    objective = Record(falling)

    def scored(model, folder, objective=objective):
        return run(
            model, small_pairs, objective, settings, folder, validate=lambda m: {"w": m.w[0].item()}
        )

    history = scored(Toy(), tmp_path / "whole")
    assert [(record["epoch"], record["step"]) for record in history] == [
        (0, 0), (0.25, 1), (1, 4), (1.5, 6), (2, 8)
    ]  # fmt: skip
    assert [record["w"] for record in history] == sorted((r["w"] for r in history), reverse=True)
    assert [key in history[1] for key in ("w", "lr", "loss_total")] == [True, False, False]
    whole = run(Toy(), small_pairs, objective, SETTINGS, tmp_path / "epochs")
    assert [r["loss_total"] for r in history if "lr" in r] == [r["loss_total"] for r in whole]
    for step in (1, 5, 6):
        folder = tmp_path / str(step)
        with pytest.raises(KeyboardInterrupt):
            scored(Toy(), folder, Dies(objective, step))
        assert scored(Toy(), folder) == history


def test_a_finished_run_is_not_trained_again(small_pairs, tmp_path):
    model, again, objective = Toy(), Toy(), Record(zero)
    first = run(model, small_pairs, Record(falling), SETTINGS, tmp_path)
    assert run(again, small_pairs, objective, SETTINGS, tmp_path) == first
    assert objective.seen == []
    assert torch.equal(again.w, model.w)


DAMAGES = ["truncated", "text", "no state", "an optimizer less"]


@pytest.mark.parametrize("what", ["config", "start weights", "rows", *DAMAGES])
def test_a_checkpoint_that_is_not_of_this_run_is_moved_aside(small_pairs, tmp_path, what):
    """Also where it fails half way: the start weights are as they were."""
    path = tmp_path / "last.pt"
    with pytest.raises(KeyboardInterrupt):
        run(Toy(), small_pairs, Dies(Record(falling), 6), SETTINGS, tmp_path, config={"lr": 1})
    if what in ("truncated", "text"):
        path.write_bytes(b"hello" if what == "text" else path.read_bytes()[:-200])
    elif what in DAMAGES:
        state = {"step": 4} if what == "no state" else torch.load(path)
        if "optimizers" in state:
            state["optimizers"][0]["param_groups"].pop()
        torch.save(state, path)
    config = {"lr": 2 if what == "config" else 1}
    pairs = small_pairs.take(np.arange(64)[::-1].copy()) if what == "rows" else small_pairs
    fresh, resumed, counted = Toy(), Toy(), Record(falling)
    for model in (fresh, resumed) if what == "start weights" else ():
        nn.init.ones_(model.w)
    wanted = run(fresh, pairs, Record(falling), SETTINGS, tmp_path / "fresh", config=config)
    assert run(resumed, pairs, counted, SETTINGS, tmp_path, config=config) == wanted
    assert len(counted.seen) == 8
    assert torch.equal(fresh.w, resumed.w)
    assert len(list(tmp_path.glob("last.*.pt"))) == 1
    assert (tmp_path / "last.other.pt").exists() == (what in DAMAGES)


@pytest.mark.parametrize("raised", [OSError(5, "I/O"), torch.OutOfMemoryError("no room")])
def test_a_checkpoint_that_cannot_be_read_now_is_left_for_later(
    raised, small_pairs, tmp_path, monkeypatch
):
    """A busy file system, or a GPU that another process fills: no reason to start anew."""

    def load(*given, **more):
        raise raised

    objective = Record(zero)
    with pytest.raises(KeyboardInterrupt):
        run(Toy(), small_pairs, Dies(objective, 6), SETTINGS, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", load)
        refused(lambda: run(Toy(), small_pairs, objective, SETTINGS, tmp_path), "cannot be read")
    run(Toy(), small_pairs, objective, SETTINGS, tmp_path)
    assert [e["step"] for e in events(tmp_path, "resumed")] == [4]


def test_the_fingerprint_is_of_the_values_not_of_their_order():
    one = fingerprint({"lr": 1e-3, "a": {"b": [1, 2], "c": "x"}})
    assert one == fingerprint({"a": {"c": "x", "b": [1, 2]}, "lr": 0.001})
    assert one != fingerprint({"lr": 1e-3, "a": {"b": [2, 1], "c": "x"}})
    assert one != fingerprint({"lr": 2e-3, "a": {"b": [1, 2], "c": "x"}})


def test_a_second_process_is_refused_and_told_who_trains(small_pairs, tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match=r"in use by process \d+"):
        run(Toy(), small_pairs, Record(zero), SETTINGS, tmp_path)
    run(Toy(), small_pairs, Record(zero), SETTINGS, tmp_path)


HOLDS = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from taclean.util.files import locked
def work():
    print(os.getpid(), flush=True)
    os.write(end, b".")
    time.sleep(60)
begin, end = os.pipe()
with locked(Path(sys.argv[1])):
    multiprocessing.get_context("fork").Process(target=work).start()
    os.read(begin, 1)
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["dies", "lives"])
def test_a_forked_child_does_not_hold_the_folder_of_its_killed_parent(tmp_path, how):
    call = [sys.executable, "-c", HOLDS, str(tmp_path), how]
    pipe, job = subprocess.PIPE, {**os.environ, "SLURM_JOB_ID": "41"}
    with subprocess.Popen(call, stdin=pipe, stdout=pipe, text=True, env=job) as holder:
        child = int(holder.stdout.readline())
        try:
            if how == "dies":
                holder.wait()
                with locked(tmp_path):
                    os.kill(child, 0)  # it still lives
            else:
                who = rf"process {holder.pid} on {os.uname().nodename}, job 41; wait"
                with pytest.raises(UserError, match=who), locked(tmp_path):
                    pass
        finally:
            os.kill(child, signal.SIGKILL)
            holder.kill()


# A file system without flock. A process of job 41 on another host is killed as it holds the folder.
NO_FLOCK = """
import errno, fcntl, os, sys
from pathlib import Path
def missing(*arguments):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = missing
import filelock
from types import SimpleNamespace
from taclean.util import errors, slurm
from taclean.util.files import locked
folder = Path(sys.argv[1])
def killed(host, job):
    if (pid := os.fork()) == 0:
        if host:
            import socket
            socket.gethostname = lambda: host
            os.uname = lambda: SimpleNamespace(nodename=host)
        os.environ["SLURM_JOB_ID"] = job
        with locked(folder):
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
def attempt():
    try:
        with locked(folder):
            print("taken")
    except errors.UserError as error:
        print(error)
killed("", "41")
attempt()
killed("other", "41")
for said in (None, "41 R", ""):
    slurm.squeue = lambda job, *options: said
    attempt()
killed("other", "41")
os.environ["SLURM_JOB_ID"] = "41"
slurm.squeue = lambda job, *options: "1" if "RestartCnt" in options else None
attempt()
"""


def test_without_flock_a_lock_is_taken_over_from_a_job_that_has_ended(tmp_path):
    call = [sys.executable, "-W", "ignore", "-c", NO_FLOCK, str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    same_host, unknown, running, ended, requeued = done.stdout.splitlines()
    assert (same_host, ended, requeued) == ("taken", "taken", "taken")
    assert unknown == running
    assert re.search(rf"{tmp_path}: in use by process .* on other, job 41; .*/lock\)$", unknown)


# ---- precision, SIGTERM, logs --------------------------------------------------------------------


def test_fp16_computes_what_fp32_computes_and_learns(go, tmp_path):
    losses = {}
    for precision, lr in (("fp32", 1e-9), ("fp16", 1e-9), ("fp16", 3e-4)):
        settings, folder = changed(precision=precision, lr=lr), tmp_path / f"{precision}{lr}"
        _, history = go(make_defense("ft", 0), settings, folder, None)
        losses[precision, lr] = [record["loss_total"] for record in history]
    assert losses["fp16", 1e-9] == pytest.approx(losses["fp32", 1e-9], rel=0.01)
    assert losses["fp16", 1e-9] != losses["fp32", 1e-9]
    assert losses["fp16", 3e-4][1] < losses["fp16", 3e-4][0] - 0.1


def test_auto_is_what_the_machine_is_fast_in_and_another_precision_starts_anew(
    go, tmp_path, monkeypatch
):
    """A retry may land on another kind of machine: it must not mix two precisions in one run."""

    def begun(precision: str, objective) -> list:
        monkeypatch.setattr("taclean.training.loop.precision_on", lambda *_: precision)
        with suppress(StoppedError):
            go(objective, changed(checkpoint_seconds=1e-9), tmp_path)
        last = events(tmp_path, "started", "resumed")[-1]
        return [last[key] for key in ("event", "step", "precision")]

    ft = make_defense("ft", 0)
    assert begun("fp32", Signals(ft, 2)) == ["started", 0, "fp32"]
    assert begun("fp32", Signals(ft, 1)) == ["resumed", 3, "fp32"]
    assert begun("fp16", Signals(ft, 0)) == ["started", 0, "fp16"]
    assert begun("fp32", ft) == ["resumed", 5, "fp32"]
    assert events(tmp_path, "resumed")[-1]["device"].startswith("cpu ")  # and its model


def test_fp16_keeps_its_scaler_in_the_checkpoint(go, tmp_path):
    """The loss overflows with the first scale, so that the scaler has something to keep."""
    settings = changed(epochs=1, precision="fp16", checkpoint_seconds=1e-9)
    inner = make_defense("ft", 0)

    class Huge(Dies):
        def loss(self, model, batch):
            return {"total": inner.loss(model, batch)["total"] * 1e34}

    wanted = go(Huge(inner, 9), settings, tmp_path / "whole")
    scales = torch.load(tmp_path / "whole/last.pt")["scaler"]
    assert scales["scale"] < 65536
    with pytest.raises(KeyboardInterrupt):
        go(Dies(Huge(inner, 9), 2), settings, tmp_path / "broken")
    same(go(Huge(inner, 9), settings, tmp_path / "broken"), wanted)
    assert torch.load(tmp_path / "broken/last.pt")["scaler"] == scales


class Signals(Dies):
    """An objective that gets SIGTERM in step `left`."""

    def loss(self, model, batch):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        self.left -= 1
        return self.inner.loss(model, batch)


@pytest.mark.parametrize("step", [0, 3, 5])
def test_sigterm_ends_the_step_saves_and_leaves(step, unbroken, go, texts, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    objective = make_defense("taclean", 0, texts)
    with pytest.raises(StoppedError, match=f"stopped by SIGTERM at step {step + 1} of 8, saved"):
        go(Signals(objective, step), SETTINGS, tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    same(go(objective, SETTINGS, tmp_path), unbroken["taclean"])
    epochs = events(tmp_path, "epoch")
    assert [(e["event"], e["step"]) for e in events(tmp_path) if e not in epochs] == [
        ("started", 0), ("interrupted", step + 1), ("resumed", step + 1), ("finished", 8)
    ]  # fmt: skip
    assert [e["step"] for e in epochs] == [4, 8]
    assert all(0 <= e["data_wait"] <= 1 for e in epochs)


@pytest.mark.parametrize("told", ["in its environment", "by squeue"])
def test_a_training_leaves_before_its_job_s_time_is_over(told, unbroken, go, tmp_path, monkeypatch):
    end = time.time() + MARGIN + 1
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    if told == "by squeue":
        monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
        answer = datetime.fromtimestamp(end).isoformat()
        monkeypatch.setattr("taclean.util.slurm.squeue", lambda *_: answer)
    else:
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(end))

    class Slow(Dies):
        def loss(self, model, batch):
            self.left -= 1
            if self.left == 0:
                time.sleep(max(0, end - MARGIN - time.time()) + 0.1)
            return self.inner.loss(model, batch)

    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(StoppedError, match="the end of its job's time at step"):
        go(Slow(make_defense("ft", 0), 3), MUON, tmp_path)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    monkeypatch.delenv("SLURM_JOB_ID")
    same(go(make_defense("ft", 0), MUON, tmp_path), unbroken["ft"])
    assert [e["event"] for e in events(tmp_path)][:3] == ["started", "interrupted", "resumed"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_sigterm_in_a_validation_does_not_wait_for_its_end(at, unbroken, go, tmp_path):
    calls = []

    def slow(model):
        calls.append(model)
        if len(calls) == at + 1:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the validation went on")
        return validate(model)

    with pytest.raises(StoppedError, match=f"at step {4 * at} of 8"):
        go(make_defense("ft", 0), MUON, tmp_path, slow)
    same(go(make_defense("ft", 0), MUON, tmp_path, slow), unbroken["ft"])
    assert len(calls) == 4  # three, and the one that was broken off


def test_progress_is_told_every_ten_seconds_with_the_time_left(monkeypatch):
    clock, lines = [91.0], []
    monkeypatch.setattr("taclean.util.progress.time.monotonic", lambda: clock[0])
    progress = Progress("pack val", 50, "rows", lines.append, 10)
    clock[0] = 100.0  # nine seconds of imports, which are not repeated
    told = []
    for done in range(11, 51):
        clock[0] += 0.5
        told.append(progress.update(done, "3 broken" if done < 40 else ""))
    assert lines == [
        "pack val: 13/50 rows, 3 broken, about 18 s left",  # 2 a second
        "pack val: 34/50 rows, 3 broken, about 8 s left",
    ]
    assert told.index(True) == 2
    assert progress.speed(50) == 2


def test_training_tells_how_far_it_is(small_pairs, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("taclean.util.progress.EVERY", -1)
    monkeypatch.setattr("taclean.training.loop.say", lines.append)
    run(Toy(), small_pairs, Record(zero), changed(precision="fp32"), tmp_path, label="base")
    assert lines.pop(0) == "base: started at step 0 of 8 in fp32"
    assert len(lines) == 8
    assert re.fullmatch(
        r"base: 5/8 steps, epoch 2/2, \d+ pairs/s, about \d+ s left", lines[4]
    ), lines  # fmt: skip


def test_what_a_killed_process_was_writing_is_removed(small_pairs, tmp_path):
    (tmp_path / ".last.123.tmp.pt").write_bytes(b"half")
    run(Toy(), small_pairs, Record(zero), SETTINGS, tmp_path)
    assert not (tmp_path / ".last.123.tmp.pt").exists()


def test_what_does_not_decide_the_result_may_change_before_a_retry():
    ways = ({}, {"checkpoint_seconds": 5, "tensorboard": True}, {"precision": "fp16"})
    one, same, other = (Train.deciding({"train": changed(**way).given()}) for way in ways)
    assert one == same != other


def test_tensorboard_gets_the_scores_or_says_how_to_install(small_pairs, tmp_path, monkeypatch):
    def go(folder: str, tensorboard: bool = True) -> None:
        settings = changed(tensorboard=tensorboard)
        run(Toy(), small_pairs, Record(zero), settings, tmp_path / folder,
            validate=lambda model: {"CA@1": 50.0})  # fmt: skip

    go("a", False)
    assert not (tmp_path / "a/tensorboard").exists()
    with suppress(ImportError):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        go("b")
        found = EventAccumulator(str(tmp_path / "b/tensorboard"))
        found.Reload()
        scores = [(event.step, event.value) for event in found.Scalars("epoch/CA@1")]
        assert scores == [(0, 50), (4, 50), (8, 50)]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"train\.tensorboard.*pip install"):
        go("c")


def test_without_a_compiler_compile_is_refused(tiny, small_pairs, tmp_path, monkeypatch):
    def none(*arguments, **options):
        raise RuntimeError("\nNo working C++ compiler found")

    monkeypatch.setattr(torch, "compile", none)
    with pytest.raises(UserError, match=r"train\.compile.*No working C\+\+ compiler"):
        run(tiny, small_pairs, Record(zero), changed(compile=True), tmp_path)


class AnyTexts(Nothing):
    """A loss of as many texts as the step says, cut to the longest of them."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, int]] = set()

    def loss(self, model, batch):
        tokens = batch.tokens[: 8 + len(self.shapes)]
        self.shapes.add((len(tokens), int((tokens != 0).sum(1).max())))
        texts = encode.encode_tokens(model, tokens)
        return {"total": encode.encode_images(model, batch.images).sum() + texts.sum()}


def test_compiled_towers_learn_the_same_and_are_compiled_once(
    tiny_name, small_pairs, tmp_path, monkeypatch
):
    """With a backend that compiles nothing; the default one takes minutes.

    Neither texts of other numbers and lengths nor validation compile again: a run that goes on
    would meet them in another order, and compute otherwise.
    """
    towers, graphs, compiler = [], [], torch.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def counted(function, **options):
        towers.append(type(getattr(function, "__self__", None)).__name__)
        return compiler(function, backend=backend, **options)

    def validate(model):
        counts.append(len(graphs))
        with torch.no_grad():
            images, _ = small_pairs.batch(np.arange(5))
            return {"CA@1": encode.encode_images(model.eval(), images).sum().item()}

    monkeypatch.setattr(torch, "compile", counted)
    found = []
    for compiled in (False, True):
        counts: list[int] = []
        model, objective = models.create(tiny_name, 0), AnyTexts()
        history = run(
            model, small_pairs, objective, changed(compile=compiled),
            tmp_path / str(compiled), validate=validate,
        )  # fmt: skip
        found.append((list(model.state_dict()), history))
        assert len({length for _, length in objective.shapes}) > 1
        assert len({number for number, _ in objective.shapes}) > 1
    assert towers[1:] == ["ModifiedResNet", "Transformer"]
    assert found[0] == found[1]
    first, *later = (count - counts[0] for count in counts)
    assert first == 0
    assert later == [2, 2]
