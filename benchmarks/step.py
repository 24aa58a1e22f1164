"""Time a CleanCLIP and a TA-Cleaner step of RN50 at 224 px against a plain loop.

Our step is that of `taclean.training.loop`: bf16 autocast where the machine supports it,
channels_last, fused AdamW, tokens cut to the longest caption, augmentation in batches, and both
views in one pass. It is timed without and with `train.compile`; compiling itself is not timed. The
plain step is `reference.step` with torchvision's AutoAugment picture by picture (on a GPU in the
workers of a DataLoader, as published) and torch's default AdamW.
"""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch._dynamo.exc import TorchDynamoException
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import reference
from benchmarks.common import Row, captions, compare, cores, device, photos, row, seconds
from taclean.captions.artifacts import SubCaptions
from taclean.clip.encode import PRECISIONS, precision_on
from taclean.clip.models import create, parameter_groups, tokenize
from taclean.config.schema import Train
from taclean.data.augment import AUGMENTATIONS
from taclean.data.split import Pairs
from taclean.defenses import make_defense
from taclean.training import distributed
from taclean.training.device import using
from taclean.training.loop import Training
from taclean.util.errors import UserError

MODEL, SIZE = "RN50-quickgelu", 224
OWN, OWN_SIZE, OWN_BATCH = "emoji-rn48", 48, 128  # of the default run
AUGMENT = "autoaugment" if "autoaugment" in AUGMENTATIONS else "mild"
LR, EPOCHS = 4.5e-6, 1000
FIRST = next(iter(reference.DEFENSES))  # the defence whose pairs per second are measured


class Data:
    """Rows in memory: pixels, tokens, and sub-captions for every second row."""

    def __init__(self, rows: int, name: str, size: int) -> None:
        self.name, self.images = name, photos(rows, size, size)
        tokens = [tokenize(name, captions(rows, seed)) for seed in range(4)]
        self.tokens, self.variants = tokens[0], tokens[1]
        self.drawn = np.arange(0, rows, 2)
        self.positives, self.negatives = tokens[2][self.drawn], tokens[3][self.drawn]
        each, none = np.arange(rows), np.empty(0, np.int64)
        self.pairs = Pairs(Path(), self.images, self.tokens, each, each, each, none)

    def texts(self) -> dict[str, object]:
        """Return the text artifacts of the defences, the same in each of many epochs."""

        def repeat(array: np.ndarray) -> np.ndarray:
            return np.broadcast_to(array, (EPOCHS, *array.shape))

        parts = self.drawn, self.positives, self.negatives[:, None]
        return {"variants": repeat(self.variants), "subcaptions": SubCaptions(*map(repeat, parts))}


def ours(
    data: Data, defense: str, batch: int, compiled: bool = False
) -> Callable[[], dict[str, torch.Tensor]]:
    """Return our training step on the next rows of `data`; `batch` counts those of all processes.

    Raises:
        UserError: torch.compile does not work on this machine.
    """
    objective = make_defense(defense, 0, data.texts(), augment=AUGMENT)
    settings = Train(lr=LR, epochs=EPOCHS, batch=batch, warmup=0, threads=cores(), compile=compiled)
    model = create(data.name)
    return Training(model, data.pairs, objective, settings, seed=0, device=device()).step


def plain(data: Data, defense: str, batch: int) -> Callable[[], float]:
    """Return the plain step on the next rows of `data`."""
    model = create(data.name).to(device(), memory_format=torch.contiguous_format).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), lr=LR)
    workers = cores() if device().type == "cuda" else 0  # workers would take a CPU's cores
    loader = DataLoader(
        reference.Views(model, data.images), batch, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=workers > 0,
    )  # fmt: skip
    indices = itertools.cycle(np.arange(len(data.images)).reshape(-1, batch))

    def forever() -> Iterator[list[torch.Tensor]]:
        while True:
            yield from loader

    views = forever()

    def step() -> float:
        index = next(indices)
        here = np.flatnonzero(np.isin(index, data.drawn))
        texts = [data.tokens[index], data.variants[index]]
        if reference.DEFENSES[defense]:
            at = np.searchsorted(data.drawn, index[here])
            texts += [data.positives[at], data.negatives[at]]
        tokens = [torch.from_numpy(t.astype(np.int64)).to(device()) for t in texts]
        images = [part.to(device(), non_blocking=True) for part in next(views)]
        return reference.step(model, optimizer, *images, *tokens[:2], here.tolist(), *tokens[2:])

    return step


def peak(side: int) -> float:
    """Measure the machine's FLOP/s of matrix products in the precision of a step."""
    dtype = PRECISIONS[precision_on(device())]
    a, b = torch.randn(2, side, side, device=device(), dtype=dtype)

    def products() -> None:
        for _ in range(20):
            a @ b

    products()
    return 20 * 2 * side**3 / float(np.median([seconds(products) for _ in range(5)]))


def many(step: Callable[[], object], count: int) -> Callable[[], object]:
    """Return a call of `count` steps, since a short step cannot be timed alone."""
    return lambda: [step() for _ in range(count)]


def main() -> list[Row]:
    """Time both defences' steps and their share of the peak; on GPUs also larger batches."""
    gpu = device().type == "cuda"
    base, repeats, count = (64, 5, 20) if gpu else (16, 3, 1)
    rows = []
    for compiled in (False, True):
        try:
            for defense in reference.DEFENSES:
                data = Data(4 * base, MODEL, SIZE)
                steps = ours(data, defense, base, compiled), plain(data, defense, base)
                mine, other = compare(*(many(step, count) for step in steps), repeats)
                what = f"step {defense} {MODEL} {SIZE} px batch {base}{', compiled' * compiled}"
                what += f" ({AUGMENT} against AutoAugment)"
                rows.append(row(what, mine / count, other / count, "s/step", other / mine))
            use = ((base, 4 * base, 8 * base), 10, 8192) if gpu else ((base,), 1, 2048)
            rows += _use(MODEL, SIZE, *use, compiled)
            rows += _use(OWN, OWN_SIZE, (OWN_BATCH,), *use[1:], compiled)
        except (UserError, TorchDynamoException) as error:
            print(f"step: {str(error).splitlines()[0]}; skipped")
    return rows + _gpus(base)


def _use(
    model: str, size: int, batches: Sequence[int], count: int, side: int, compiled: bool
) -> list[Row]:
    """Measure pairs per second and the share of the peak that a step reaches."""
    rows, top = [], peak(side)
    for batch in batches:
        try:
            took, flops = _cost(model, size, batch, count, compiled)
        except torch.OutOfMemoryError:
            print(f"step: batch {batch} needs more memory than this GPU has; skipped")
            break
        name = f"{FIRST} {model} {size} px batch {batch}{', compiled' * compiled}"
        rows.append(row(f"pairs of {name}, two views each", batch / took, None, "pair/s", None))
        used = flops / took
        what = f"share of the matrix-product peak, {name}"
        rows.append(row(what, used / 1e12, top / 1e12, "TFLOP/s", used / top))
    return rows


def _cost(model: str, size: int, batch: int, count: int, compiled: bool) -> tuple[float, float]:
    """Return the seconds of a step, the best of three means, and its FLOP, forward and backward."""
    data = Data(2 * batch, model, size)
    with FlopCounterMode(display=False) as counter:
        ours(data, FIRST, batch)()  # uncompiled, since the counter does not see compiled code
    step = ours(data, FIRST, batch, compiled)
    step()
    return min(seconds(many(step, count)) for _ in range(3)) / count, counter.get_total_flops()


def _gpus(base: int) -> list[Row]:
    """Measure the pairs per second of all GPUs against the multiple of one GPU's."""
    count = torch.cuda.device_count()
    if count < 2:
        return []
    one, every = (launch(number, MODEL, SIZE, base, 20) for number in (1, count))
    what = f"{count} GPUs against {count} times one, {FIRST} {MODEL} {SIZE} px, {base} each"
    return [row(what, every, count * one, "pair/s", every / (count * one))]


def launch(processes: int, *arguments: str | int) -> float:
    """Run `rate` with these arguments under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "benchmarks.step", *map(str, arguments)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    return float(done.stdout.split()[-1])


def rate(name: str, size: int, each: int, count: int) -> float:
    """Return the pairs per second of all processes over `count` steps of `each` pairs each."""
    batch = each * distributed.world()
    step = many(ours(Data(2 * batch, name, size), FIRST, batch), count)
    step()
    return count * batch / seconds(step)


if __name__ == "__main__":
    with using() as own, distributed.processes(own):
        found = rate(sys.argv[1], *map(int, sys.argv[2:]))
        if distributed.rank() == 0:
            print(found)
