"""Pack chosen rows of a source: in parallel over shards, resumable, in flat memory.

Each worker reads the wanted rows of a shard and writes them in place into preallocated arrays;
when a shard is done, a small file says so and keeps its captions. All of this happens in a hidden
folder beside the target, which appears in one rename when everything is there.

Every slot's content is a function of the source, the rows and the spare rows alone, so the files
are the same bytes whatever the number of workers and however often the packing was killed.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taclean.data.index import index_rows
from taclean.data.labels import LabelCaptions, RunLabels
from taclean.data.layout import FILES, Tokenize, load_array
from taclean.data.npy import NpyRows
from taclean.data.pack_shard import (
    ARRAYS,
    KINDS,
    Job,
    Task,
    create_arrays,
    open_arrays,
    pack_shard,
    pack_shard_of_task,
    take_task,
)
from taclean.data.readers.base import Reader
from taclean.util.errors import UserError
from taclean.util.files import locked, read_json, write_json
from taclean.util.progress import Progress
from taclean.util.workers import worker_pool

# All that a packing may write.
TEXT_FILES = ("texts.txt", "texts.npy", "text_rows.npy")
OUTPUTS = (*FILES, "account.json", "rows.csv", "classes.txt", *TEXT_FILES)
COPY = 64  # rows that are copied at once
TEXTS = 1024  # further captions that are tokenised at once


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a model of open_clip, imported where it is used: in the workers."""

    model: str

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        from taclean.clip.models import tokenize

        return tokenize(self.model, captions)


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
    classes: Sequence[str] | None = None,
    captions: LabelCaptions | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Pack these rows of a source into a split (see `taclean.data.split`).

    Slots are in source order (sorted ids). A broken row gives its slot to the next sound spare
    row, in drawn order, so that exactly `len(rows)` rows come out. With `rows=None` all rows are
    packed and broken ones are left out. Beside the split's files it writes `account.json`,
    `rows.csv` (row,id,shard,key: the list that can be published), `classes.txt` with what the
    labels count, where there are labels, and, where images have several captions, `texts.txt`,
    `texts.npy` (T, 77) uint16 and `text_rows.npy` (T,) int64 with all of them and the row that each
    belongs to.

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
        classes: the run's classes, which the labels then count: a source's own are found by name,
            exactly or else without regard to case, `_`, `-` and blanks. None: labels and
            `classes.txt` are the source's.
        captions: what makes captions of the labels; None: captions are the source's.
        say: gets a line about the progress now and then.

    Returns:
        The account: {"read": n, "packed": n, "broken": {kind: n for all of `KINDS`}, ...}.

    Raises:
        UserError: too many rows are broken, the spare rows do not suffice, a shard cannot be read
            or differs from the index, a label is none of `classes`, the disk is full, or another
            process packs the same folder.
    """
    target = Path(folder)
    first, total = index.get("first", 0), index_rows(index)
    everything = rows is None
    ids = np.arange(first, first + total) if rows is None else np.asarray(rows, np.int64)
    spares = np.empty(0, np.int64) if spare is None or everything else np.asarray(spare, np.int64)
    if not len(ids):
        raise UserError(f"{target}: no rows to pack; give the split at least 1")
    both = np.concatenate([ids, spares])
    if both.min() < first or both.max() >= first + total or len(np.unique(both)) != len(both):
        raise UserError(
            f"{target}: row ids that are double or not in the index of {total}; draw them again"
        )
    mark = _digest(index, both, len(ids), size, [fingerprint, classes, captions])
    if (account := _finished(target, mark)) is not None:
        say(f"{target}: already packed, {account['packed']} rows")
        return account
    partial = target.parent / f".{target.name}.partial"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with locked(partial):
            _prepare(partial, mark, len(ids), size, target)
            labels = None if classes is None else RunLabels(reader.classes(), classes)
            task = Task(reader, partial, size, tokenize, labels, captions)
            packing = _Packing(
                task, index, np.sort(ids), spares, everything, workers, max_broken, target, say
            )
            missing = packing.fill()
            split, account = packing.finish(missing, mark)
            _move_into_place(partial, split, target)
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
            elif entry.name not in ("lock", "holder"):
                entry.unlink()
        (partial / "done").mkdir()
        create_arrays(partial / "rows", rows, size)
        write_json(state, {"fingerprint": mark})
    there = sum(path.stat().st_blocks * 512 for path in (partial / "rows").iterdir())
    needed = rows * (size * size * 3 + 77 * 2 + 24) - there
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
        task: Task,
        index: Mapping[str, Any],
        ids: np.ndarray,
        spares: np.ndarray,
        everything: bool,
        workers: int,
        max_broken: float,
        target: Path,
        say: Callable[[str], None],
    ):
        self.task, self.ids, self.spares, self.workers = task, ids, spares, workers
        self.names = [name for name, _ in index["shards"]]
        ends = np.cumsum([0, *(count for _, count in index["shards"])]) + index.get("first", 0)
        self.starts, self.ends = ends[:-1], ends[1:]
        self.max_broken, self.target, self.say = max_broken, target, say
        self.rounds: list[list[Job]] = []
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
                    f"{used} spare rows ({self._broken_kinds()}), and of the source's rows that no "
                    f"split has, {len(chosen)} are left for them; raise max_broken, lower rows or "
                    "add shards"
                )
            used += len(chosen)
            missing = self._round(chosen, np.array(missing))
        return missing

    def _broken_kinds(self) -> str:
        return ", ".join(f"{kind} {self.kinds[kind]}" for kind in KINDS if self.kinds[kind])

    def _refuse_broken(self) -> None:
        """Stop as soon as the share at the end is sure to be too large, whatever is yet to come."""
        broken = self.kinds.total()
        read = len(self.ids) if self.everything else len(self.ids) + broken
        if broken > self.max_broken * read:
            raise UserError(
                f"{self.target}: at least {broken} of {read} rows that would be read are broken "
                f"({self._broken_kinds()}), more than max_broken = {self.max_broken:g}; look at "
                "the source or raise max_broken"
            )

    def _jobs(self, ids: np.ndarray, slots: np.ndarray) -> list[Job]:
        order = np.argsort(ids)
        ids, slots = ids[order], slots[order]
        shards = np.searchsorted(self.ends, ids, "right")
        jobs = []
        for part in np.split(np.arange(len(ids)), np.flatnonzero(np.diff(shards)) + 1):
            shard = int(shards[part[0]])
            name = f"{len(self.rounds):03d}-{shard:07d}.jsonl"
            positions = ids[part] - self.starts[shard]
            jobs.append(Job(name, self.names[shard], positions, ids[part], slots[part]))
        return jobs

    def _round(self, ids: np.ndarray, slots: np.ndarray) -> list[int]:
        """Do all jobs of a round that are not done; returns the slots that stay empty."""
        jobs = self._jobs(ids, slots)
        self.rounds.append(jobs)
        self.read += len(ids)
        missing: list[int] = []

        def count_broken(broken: Sequence[Sequence[Any]]) -> None:
            missing.extend(slot for slot, _ in broken)
            self.kinds.update(kind for _, kind in broken)

        todo = []
        for job in jobs:
            if (self.task.partial / "done" / job.name).exists():
                count_broken([record[:2] for record in self._records(job) if record[1]])
            else:
                todo.append(job)
        rows, total = 0, sum(len(job.slots) for job in todo)
        progress = Progress(f"pack {self.target.name}", total, "rows", self.say)
        for job, broken in self._results(todo):
            count_broken(broken)
            self._refuse_broken()
            rows += len(job.slots)
            progress.update(rows, f"{self.kinds.total()} broken" if self.kinds else "")
        self._refuse_broken()
        return sorted(missing)

    def _results(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, list[tuple[int, str]]]]:
        workers = min(self.workers, len(jobs))
        if workers <= 1:
            for job in jobs:
                yield job, pack_shard(self.task, job)
            return
        pool = worker_pool(workers, take_task, (self.task,))
        try:
            futures = {pool.submit(pack_shard_of_task, job): job for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                f"{self.target}: a worker was killed (out of memory?); use fewer workers and run "
                "it again, it goes on where it was"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _records(self, job: Job) -> Iterator[list[Any]]:
        """[slot, kind] of broken rows and [slot, None, id, label, key, caption, more] of others."""
        with (self.task.partial / "done" / job.name).open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def _filled_slots(self) -> Iterator[tuple[str, list[Any]]]:
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
            raise UserError(
                f"{self.target}: no sound row ({self._broken_kinds()}); look at the source"
            )
        split = self._compact(missing) if missing else self.task.partial / "rows"
        texts = 0
        ids, labels = np.empty(packed, np.int64), np.empty(packed, np.int64)
        with (
            (split / "captions.txt").open("w", encoding="utf-8", newline="\n") as captions,
            (split / "rows.csv").open("w", encoding="utf-8", newline="") as listed,
            (split / "texts.txt").open("w", encoding="utf-8", newline="\n") as all_texts,
            (self.task.partial / "owners").open("wb") as owners,
        ):
            table = csv.writer(listed, lineterminator="\n")
            table.writerow(["row", "id", "shard", "key"])
            for row, (shard, record) in enumerate(self._filled_slots()):
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
        names = self.task.reader.classes()
        if self.task.labels is not None:
            names = list(self.task.labels.classes) if (labels >= 0).all() else None
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
        np.save(split / "text_rows.npy", np.fromfile(self.task.partial / "owners", "<i8"))
        NpyRows.create(split / "texts.npy", np.uint16, (count, 77))
        tokens, done = NpyRows(split / "texts.npy"), 0
        with (split / "texts.txt").open(encoding="utf-8", newline="\n") as file:
            while part := [line.rstrip("\n") for line in itertools.islice(file, TEXTS)]:
                tokens.write(range(done, done + len(part)), self.task.tokenize(part))
                done += len(part)
        tokens.close()

    def _compact(self, missing: list[int]) -> Path:
        """Copy the rows but the missing ones: moving them in place would not survive a kill."""
        compact = self.task.partial / "compact"
        shutil.rmtree(compact, ignore_errors=True)
        create_arrays(compact, len(self.ids) - len(missing), self.task.size)
        with open_arrays(self.task.partial / "rows") as old, open_arrays(compact) as new:
            to = 0
            for before, end in itertools.pairwise([-1, *missing, len(self.ids)]):
                for at in range(before + 1, end, COPY):
                    count = min(COPY, end - at)
                    for name in ARRAYS:
                        new[name].write(range(to, to + count), old[name].read(at, count))
                    to += count
        return compact


def _move_into_place(partial: Path, split: Path, target: Path) -> None:
    """Move the finished split to `target`, whole; what others keep in there stays."""
    (partial / "state.json").unlink(missing_ok=True)  # its rows go: a killed run starts over
    if target.is_dir():
        for entry in target.iterdir():
            if entry.name not in OUTPUTS:
                os.replace(entry, split / entry.name)
        shutil.rmtree(target)
    os.rename(split, target)
    shutil.rmtree(partial)
