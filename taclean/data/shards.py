"""Pack chosen rows of a source: in parallel over shards, resumable, in flat memory.

Each worker decodes the wanted rows of a shard and writes them in place into preallocated arrays;
when a shard is done, a small file says so and keeps its captions. All of this happens in a hidden
folder beside the target, which appears in one rename when everything is there.

Every slot's content is a function of the source, the rows and the spare rows alone, so the files
are the same bytes whatever the number of workers and however often the packing was killed.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import itertools
import json
import math
import os
import shutil
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from taclean.data.packed import FILES, Tokenize, load_array, one_line
from taclean.data.readers import STALE, Reader, Sample
from taclean.errors import UserError
from taclean.files import read_json, write_json

# In the order in which a sample is looked at: one with two faults counts for the first.
KINDS = (
    "no_image",
    "no_caption",
    "empty_caption",
    "caption_not_utf8",
    "undecodable",
    "too_large",
    "wrong_mode",
)
# All that a packing may write.
TEXT_FILES = ("texts.txt", "texts.npy", "text_rows.npy")
OUTPUTS = (*FILES, "account.json", "rows.csv", "classes.txt", *TEXT_FILES)
MAX_PIXELS = 89_478_485  # Pillow's own limit for decompression bombs
LONGEST = 20  # times the shorter side, of an image that is resized as a whole
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # none that would run a program, as EPS
BATCH = 64  # rows that are tokenised at once
COPY = 64  # rows that are copied at once
TEXTS = 1024  # further captions that are tokenised at once


class Broken(Exception):  # noqa: N818 - counted, not an error of the program
    """A sample that cannot be packed; its argument is one of `KINDS`."""


# ---- pixels --------------------------------------------------------------------------------------


def load_image(data: bytes, size: int) -> np.ndarray:
    """Decode an image and bring it to a square as open_clip's evaluation transform does.

    The shorter side becomes `size` (bicubic), then the centre is cut out: the same bytes. The image
    becomes RGB before it is resized (as webdataset's `pilrgb`), so that palette images are
    interpolated too; transparency is dropped, 16-bit grey is shown as its upper 8 bits. JPEG is
    decoded at full size: `Image.draft` would save half of the time but moves pixels by several
    levels on average.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        Broken: undecodable (or truncated), too_large (above 89 million pixels), wrong_mode.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries turn it on for the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF and the like
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise Broken("too_large")
            image.load()
        except Image.DecompressionBombError:
            raise Broken("too_large") from None
        except (Broken, MemoryError):
            raise
        except Exception:  # Pillow's plugins raise all kinds on damaged files
            raise Broken("undecodable") from None
        return np.asarray(_square(_rgb(image), size))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Broken("wrong_mode")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":  # no range is agreed on
        raise Broken("wrong_mode")
    try:
        return image.convert("RGB")
    except (ValueError, OSError):
        raise Broken("wrong_mode") from None


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    # torchvision's Resize rounds the longer side down, its CenterCrop rounds to even.
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    if max(new_width, new_height) <= LONGEST * size:
        resized = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + size, top + size))
    # The resized picture of a mere line would be gigabytes: compute the crop alone, which may
    # differ by the rounding of the box's corners.
    across, down = width / new_width, height / new_height
    right, bottom = min((left + size) * across, width), min((top + size) * down, height)
    box = (left * across, top * down, right, bottom)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


# ---- index ---------------------------------------------------------------------------------------


def make_index(reader: Reader, workers: int = 1) -> dict[str, Any]:
    """Count the samples of every shard: {"shards": [[name, count], ...]}.

    Raises:
        UserError: a shard is missing, foreign or truncated, or there is no sample at all.
    """
    shards = reader.shards()
    if workers == 1 or len(shards) == 1:
        counts = [reader.count(shard) for shard in shards]
    else:
        with ProcessPoolExecutor(min(workers, len(shards))) as pool:
            counts = list(pool.map(reader.count, shards, chunksize=8))
    if not sum(counts):
        raise UserError(f"source: {len(shards)} shards without a sample; put the data there")
    return {"shards": [[name, count] for name, count in zip(shards, counts, strict=True)]}


# ---- rows of a .npy file -------------------------------------------------------------------------


class _Rows:
    """Rows of a .npy file by pread and pwrite: a memory map would count its pages as memory."""

    def __init__(self, path: Path):
        array = np.load(path, mmap_mode="r+")
        self.offset, self.dtype, self.shape = array.offset, array.dtype, array.shape[1:]
        self.row = array.dtype.itemsize * math.prod(self.shape)
        self.fd = os.open(path, os.O_RDWR)

    @staticmethod
    def create(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
        # Untouched, so the file is sparse and the map costs no memory.
        np.lib.format.open_memmap(path, "w+", dtype, shape)

    def write(self, row: int, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, self.dtype).tobytes()
        at = self.offset + row * self.row
        while data:
            written = os.pwrite(self.fd, data, at)
            data, at = data[written:], at + written

    def read(self, row: int, count: int) -> np.ndarray:
        data = os.pread(self.fd, count * self.row, self.offset + row * self.row)
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape)

    def close(self) -> None:
        os.fsync(self.fd)
        os.close(self.fd)


def _create(folder: Path, rows: int, size: int) -> None:
    folder.mkdir()
    _Rows.create(folder / "images.npy", np.uint8, (rows, size, size, 3))
    _Rows.create(folder / "tokens.npy", np.uint16, (rows, 77))


ARRAYS = ("images", "tokens")


@contextmanager
def _arrays(folder: Path) -> Iterator[dict[str, _Rows]]:
    arrays = {name: _Rows(folder / f"{name}.npy") for name in ARRAYS}
    try:
        yield arrays
    finally:
        for array in arrays.values():
            array.close()


# ---- one shard, in a worker ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """What all jobs share; a worker gets it once."""

    reader: Reader
    partial: Path
    size: int
    tokenize: Tokenize


@dataclass(frozen=True)
class _Job:
    """Rows of one shard: sorted positions in it, their ids and the slots that they go to."""

    name: str
    shard: str
    positions: np.ndarray
    ids: np.ndarray
    slots: np.ndarray


def _sound(sample: Sample) -> None:
    if sample.data is None:
        raise Broken("no_image")
    if sample.caption is None:
        if sample.label < 0:
            raise Broken("no_caption")
        return
    if not sample.caption.strip().strip("\ufeff"):
        raise Broken("empty_caption")
    for text in (sample.caption, *sample.more):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise Broken("caption_not_utf8") from None


def _do(work: _Work, job: _Job) -> Counter[str]:
    """Write a shard's rows in place and its done file; returns how many were broken, by kind."""
    kinds: Counter[str] = Counter()
    done = work.partial / "done" / job.name
    temporary = done.with_suffix(".tmp")
    captions: list[str] = []
    slots: list[int] = []
    with _arrays(work.partial / "rows") as arrays, temporary.open("w", encoding="utf-8") as file:

        def flush() -> None:
            if slots:
                tokens = work.tokenize(captions)
                for slot, row in zip(slots, tokens, strict=True):
                    arrays["tokens"].write(slot, row)
            slots.clear()
            captions.clear()

        found = 0
        for sample in work.reader.read(job.shard, job.positions):
            slot, row_id = int(job.slots[found]), int(job.ids[found])
            found += 1
            key = sample.key.encode("utf-8", "backslashreplace").decode("utf-8")
            try:
                _sound(sample)
                pixels = load_image(sample.data or b"", work.size)
            except Broken as broken:
                kind = str(broken)
                kinds[kind] += 1
                print(json.dumps([slot, kind]), file=file)
                continue
            caption = one_line(sample.caption or "")
            arrays["images"].write(slot, pixels)
            slots.append(slot)
            captions.append(caption)
            more = [text for text in map(one_line, sample.more) if text]
            print(json.dumps([slot, None, row_id, sample.label, key, caption, more]), file=file)
            if len(slots) == BATCH:
                flush()
        if found != len(job.positions):
            raise UserError(
                f"{job.shard}: {found} of {len(job.positions)} wanted samples are there; it "
                f"changed since it was indexed: {STALE}"
            )
        flush()
        file.flush()
        os.fsync(file.fileno())
    # The arrays are on the disk by now: a done file must not outlive its rows in a crash.
    os.replace(temporary, done)
    return kinds


_work: _Work | None = None


def _start(work: _Work) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from each worker

    def watch() -> None:
        # A killed parent cannot stop its workers: without this they would wait for ever.
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(job: _Job) -> Counter[str]:
    assert _work is not None
    return _do(_work, job)


# ---- packing -------------------------------------------------------------------------------------


def pack_rows(
    folder: Path | str,
    reader: Reader,
    index: Mapping[str, Any],
    rows: np.ndarray | None,
    spare: np.ndarray | None,
    *,
    size: int,
    tokenize: Tokenize,
    workers: int = 1,
    max_broken: float = 0.05,
    fingerprint: Any = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Pack these rows of a source into a split (see `taclean.data.packed`).

    Slots are in source order (sorted ids). A broken row gives its slot to the next sound spare
    row, in drawn order, so that exactly `len(rows)` rows come out. With `rows=None` all rows are
    packed and broken ones are left out. Beside the split's files it writes `account.json`,
    `rows.csv` (row,id,shard,key: the list that can be published), `classes.txt` where the reader
    has own classes, and, where images have several captions, `texts.txt`, `texts.npy` (T, 77)
    uint16 and `text_rows.npy` (T,) int64 with all of them and the row that each belongs to.

    A killed packing goes on where it was when it is called again with the same arguments
    (`workers`, `max_broken` and `say` aside); with others it starts over. Memory does not grow
    with the rows, but for 50 bytes each and the captions of the spare rows that are used. A test
    set with broken images needs its disk space twice for a while.

    Args:
        folder: the split; everything of an earlier packing in it is replaced.
        index: as `make_index` gives it, for this reader.
        rows: (N,) ids of the rows, counted over all shards; None for all.
        spare: ids of the spare rows in drawn order.
        size: side of the images in px.
        tokenize: captions -> (B, 77) uint16. It runs in the workers, so it must be picklable.
        workers: processes.
        max_broken: refuse when a larger share of what was read is broken.
        fingerprint: what else the result depends on (source, model): any JSON value.
        say: gets a line about the progress now and then.

    Returns:
        The account: {"read": n, "packed": n, "broken": {kind: n for all of `KINDS`}, ...}.

    Raises:
        UserError: too many rows are broken, the spare rows do not suffice, a shard cannot be read
            or differs from the index, the disk is full, or another process packs the same folder.
    """
    target = Path(folder)
    counts = np.array([count for _, count in index["shards"]], np.int64)
    total = int(counts.sum())
    everything = rows is None
    ids = np.arange(total) if rows is None else np.asarray(rows, np.int64)
    spares = np.empty(0, np.int64) if spare is None or everything else np.asarray(spare, np.int64)
    if not len(ids):
        raise UserError(f"{target}: no rows to pack; give the split at least 1")
    both = np.concatenate([ids, spares])
    if both.min() < 0 or both.max() >= total or len(np.unique(both)) != len(both):
        raise UserError(
            f"{target}: row ids that are double or not in the index of {total}; draw them again"
        )
    mark = _digest(index, both, len(ids), size, fingerprint)
    if (account := _finished(target, mark)) is not None:
        say(f"{target}: already packed, {account['packed']} rows")
        return account
    partial = target.parent / f".{target.name}.partial"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _locked(partial):
            _prepare(partial, mark, len(ids), size, target)
            work = _Work(reader, partial, size, tokenize)
            packing = _Packing(
                work, index, np.sort(ids), spares, everything, workers, max_broken, target, say
            )
            missing = packing.fill()
            split, account = packing.finish(missing, mark)
            _appear(partial, split, target)
            return account
    except OSError as error:
        raise UserError(f"{partial}: {error}; mend that and run it again") from None


def _digest(index: Mapping[str, Any], ids: np.ndarray, rows: int, size: int, more: Any) -> str:
    text = json.dumps([dict(index), rows, size, KINDS, more], sort_keys=True, default=str)
    return hashlib.sha256(text.encode() + ids.tobytes()).hexdigest()


def _finished(target: Path, mark: str) -> dict[str, Any] | None:
    """The account of a whole split that is just what is asked for."""
    try:
        account = read_json(target / "account.json")
        if account["fingerprint"] != mark or not all((target / file).exists() for file in FILES):
            return None
        if len(load_array(target / "images.npy", np.uint8, 4)) != account["packed"]:
            return None
    except (UserError, KeyError, TypeError):
        return None
    return account


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    # lockf, because its locks are not inherited: workers of a killed run must not hold it.
    with (partial / "lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UserError(f"{partial}: another process packs this split; wait for it") from None
        yield


def _prepare(partial: Path, mark: str, rows: int, size: int, target: Path) -> None:
    """Keep what an earlier run with the same fingerprint did, else start over."""
    state = partial / "state.json"
    try:
        same = read_json(state) == {"fingerprint": mark}
    except UserError:
        same = False
    if not same:
        for entry in partial.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
    if not same:
        (partial / "done").mkdir()
        _create(partial / "rows", rows, size)
        write_json(state, {"fingerprint": mark})
    there = sum(path.stat().st_blocks * 512 for path in (partial / "rows").iterdir())
    needed = rows * (size * size * 3 + 77 * 2 + 16) - there
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise UserError(
            f"{target}: needs {needed / 1e9:.1f} GB more but the disk has {free / 1e9:.1f} GB; "
            "free some or choose another folder"
        )


class _Packing:
    """One call of `pack_rows`: rounds of jobs until no slot is missing."""

    def __init__(
        self,
        work: _Work,
        index: Mapping[str, Any],
        ids: np.ndarray,
        spares: np.ndarray,
        everything: bool,
        workers: int,
        max_broken: float,
        target: Path,
        say: Callable[[str], None],
    ):
        self.work, self.ids, self.spares, self.workers = work, ids, spares, workers
        self.names = [name for name, _ in index["shards"]]
        self.ends = np.cumsum([count for _, count in index["shards"]])
        self.max_broken, self.target, self.say = max_broken, target, say
        self.rounds: list[list[_Job]] = []
        self.read = 0
        # Each broken row makes a spare one be read, unless all rows are read anyway.
        self.everything = everything
        self.kinds: Counter[str] = Counter()

    def fill(self) -> list[int]:
        """Read the rows, then spare rows until every slot is filled; returns the slots left."""
        missing = self._round(self.ids, np.arange(len(self.ids)))
        used = 0
        while missing and not self.everything:
            chosen = self.spares[used : used + len(missing)]
            if len(chosen) < len(missing):
                raise UserError(
                    f"{self.target}: {len(missing)} of {len(self.ids)} rows are broken after "
                    f"{used} spare rows ({self._account()}), and of the source's rows that no "
                    f"split has, {len(chosen)} are left for them; raise max_broken, lower rows or "
                    "add shards"
                )
            used += len(chosen)
            missing = self._round(chosen, np.array(missing))
        return missing

    def _account(self) -> str:
        return ", ".join(f"{kind} {self.kinds[kind]}" for kind in KINDS if self.kinds[kind])

    def _refuse(self) -> None:
        """Stop as soon as the share at the end is sure to be too large, whatever is yet to come."""
        broken = self.kinds.total()
        read = len(self.ids) if self.everything else len(self.ids) + broken
        if broken > self.max_broken * read:
            raise UserError(
                f"{self.target}: at least {broken} of {read} rows that would be read are broken "
                f"({self._account()}), more than max_broken = {self.max_broken:g}; look at the "
                "source or raise max_broken"
            )

    def _jobs(self, ids: np.ndarray, slots: np.ndarray) -> list[_Job]:
        order = np.argsort(ids)
        ids, slots = ids[order], slots[order]
        shards = np.searchsorted(self.ends, ids, "right")
        jobs = []
        for part in np.split(np.arange(len(ids)), np.flatnonzero(np.diff(shards)) + 1):
            shard = int(shards[part[0]])
            start = int(self.ends[shard - 1]) if shard else 0
            name = f"{len(self.rounds):03d}-{shard:07d}.jsonl"
            jobs.append(_Job(name, self.names[shard], ids[part] - start, ids[part], slots[part]))
        return jobs

    def _round(self, ids: np.ndarray, slots: np.ndarray) -> list[int]:
        """Do all jobs of a round that are not done; returns the slots that stay empty."""
        jobs = self._jobs(ids, slots)
        self.rounds.append(jobs)
        done = self.work.partial / "done"
        todo = []
        self.read += len(ids)
        for job in jobs:
            if (done / job.name).exists():
                self.kinds.update(record[1] for record in self._records(job) if record[1])
            else:
                todo.append(job)
        rows = len(ids) - sum(len(job.slots) for job in todo)
        told = started = time.monotonic()
        first = rows
        for job, kinds in self._results(todo):
            self.kinds.update(kinds)
            self._refuse()
            rows += len(job.slots)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                left = (told - started) / (rows - first) * (len(ids) - rows)
                self.say(
                    f"pack {self.target.name}: {rows}/{len(ids)} rows, "
                    f"{self.kinds.total()} broken, about {left:.0f} s left"
                )
        self._refuse()
        return sorted(
            record[0] for job in jobs for record in self._records(job) if record[1] is not None
        )

    def _results(self, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, Counter[str]]]:
        workers = min(self.workers, len(jobs))
        if workers <= 1:
            for job in jobs:
                yield job, _do(self.work, job)
            return
        pool = ProcessPoolExecutor(workers, initializer=_start, initargs=(self.work,))
        try:
            futures = {pool.submit(_run, job): job for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                f"{self.target}: a worker was killed (out of memory?); use fewer workers and run "
                "it again, it goes on where it was"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _records(self, job: _Job) -> Iterator[list[Any]]:
        """[slot, kind] of broken rows and [slot, None, id, label, key, caption, more] of others."""
        with (self.work.partial / "done" / job.name).open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def _sound(self) -> Iterator[tuple[str, list[Any]]]:
        """(shard, record) of every filled slot, in slot order."""
        replaced = {
            record[0]: (job.shard, record)
            for jobs in self.rounds[1:]
            for job in jobs
            for record in self._records(job)
            if record[1] is None
        }
        for job in self.rounds[0]:
            for record in self._records(job):
                if record[1] is None:
                    yield job.shard, record
                elif record[0] in replaced:
                    yield replaced[record[0]]

    def finish(self, missing: list[int], mark: str) -> tuple[Path, dict[str, Any]]:
        """Complete the split inside the partial folder; returns its folder there, the account."""
        packed = len(self.ids) - len(missing)
        if not packed:
            raise UserError(f"{self.target}: no sound row ({self._account()}); look at the source")
        split = self._compact(missing) if missing else self.work.partial / "rows"
        texts = 0
        ids, labels = np.empty(packed, np.int64), np.empty(packed, np.int64)
        with (
            (split / "captions.txt").open("w", encoding="utf-8", newline="\n") as captions,
            (split / "rows.csv").open("w", encoding="utf-8", newline="") as listed,
            (split / "texts.txt").open("w", encoding="utf-8", newline="\n") as all_texts,
            (self.work.partial / "owners").open("wb") as owners,
        ):
            table = csv.writer(listed, lineterminator="\n")
            table.writerow(["row", "id", "shard", "key"])
            for row, (shard, record) in enumerate(self._sound()):
                ids[row], labels[row], key, caption, more = record[2:]
                captions.write(f"{caption}\n")
                table.writerow([row, record[2], shard, key])
                if more:
                    for text in (caption, *more):
                        all_texts.write(f"{text}\n")
                        owners.write(row.to_bytes(8, "little"))
                        texts += 1
        np.save(split / "ids.npy", ids)
        np.save(split / "labels.npy", labels)
        if texts:
            self._texts(split, texts)
        else:
            (split / "texts.txt").unlink()
        names = self.work.reader.classes()
        if names is not None:
            (split / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
        account = {
            "read": self.read,
            "packed": packed,
            "broken": {kind: self.kinds[kind] for kind in KINDS},
            "fingerprint": mark,
        }
        write_json(split / "account.json", account)
        return split, account

    def _texts(self, split: Path, count: int) -> None:
        np.save(split / "text_rows.npy", np.fromfile(self.work.partial / "owners", "<i8"))
        _Rows.create(split / "texts.npy", np.uint16, (count, 77))
        tokens, done = _Rows(split / "texts.npy"), 0
        with (split / "texts.txt").open(encoding="utf-8", newline="\n") as file:
            while part := [line.rstrip("\n") for line in itertools.islice(file, TEXTS)]:
                tokens.write(done, self.work.tokenize(part))
                done += len(part)
        tokens.close()

    def _compact(self, missing: list[int]) -> Path:
        """Copy the rows but the missing ones: moving them in place would not survive a kill."""
        compact = self.work.partial / "compact"
        shutil.rmtree(compact, ignore_errors=True)
        _create(compact, len(self.ids) - len(missing), self.work.size)
        with _arrays(self.work.partial / "rows") as old, _arrays(compact) as new:
            to = 0
            for before, end in itertools.pairwise([-1, *missing, len(self.ids)]):
                for at in range(before + 1, end, COPY):
                    count = min(COPY, end - at)
                    for name in ARRAYS:
                        new[name].write(to, old[name].read(at, count))
                    to += count
        return compact


def _appear(partial: Path, split: Path, target: Path) -> None:
    """Move the finished split to `target`, whole; what others keep in there stays."""
    (partial / "state.json").unlink(missing_ok=True)  # its rows go: a killed run starts over
    if target.is_dir():
        for entry in target.iterdir():
            if entry.name not in OUTPUTS:
                os.replace(entry, split / entry.name)
        shutil.rmtree(target)
    os.rename(split, target)
    shutil.rmtree(partial)
