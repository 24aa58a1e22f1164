"""Pack rows of a source into a split: one parallel pass over the pictures.

Worker processes read and resize pictures and write them in place; this process tokenises the
captions meanwhile. The split appears when all of it is there. A packing that was killed starts
over: at 174 rows a second and core (benchmarks/results.csv), 600,000 rows of 224 px take 58 minutes
of one core, or 7 minutes on 8 cores.

Every row is a function of the source, the rows and the spare rows alone, so the files are the same
bytes whatever the number of workers.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from taclean.data.images import Broken, load_image
from taclean.data.layout import FILES, Tokenize, one_line, picture_hash
from taclean.data.readers import Reader
from taclean.util.errors import UserError
from taclean.util.files import replacing, write_json
from taclean.util.progress import Progress

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
TEXT_FILES = ("texts.txt", "texts.npy", "text_rows.npy")
OUTPUTS = (*FILES, "account.json", "rows.csv", "classes.txt", *TEXT_FILES)
PART = 64  # rows that a worker packs at once


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of a model of open_clip, imported where it is used."""

    model: str

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Return the tokens (B, 77) uint16 of captions."""
        from taclean.clip.models import tokenize

        return tokenize(self.model, captions)


def pack_rows(
    folder: Path | str,
    reader: Reader,
    table: pd.DataFrame,
    spare: pd.DataFrame | None = None,
    *,
    size: int,
    tokenize: Tokenize,
    workers: int = 1,
    max_broken: float = 0.05,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Pack rows of a source's table into a split (see `taclean.data.split`).

    Rows are packed in source order (sorted ids). A broken row is replaced by the next sound spare
    row, in drawn order, so that exactly `len(table)` rows come out. Without spare rows, broken ones
    are left out. Beside the files of every split, the folder gets:

    - `account.json`: what was read, packed and broken;
    - `rows.csv` with row, id, key and where: the list that can be published;
    - `classes.txt`, if there are labels: the classes that they count;
    - `texts.txt`, `texts.npy` (T, 77) uint16 and `text_rows.npy` (T,) int64, if pictures have
      several captions: all captions and the row that each belongs to.

    Args:
        folder: the split; what an earlier packing wrote in it is replaced.
        reader: the source.
        table: rows of the source's table; the index holds their ids.
        spare: rows that replace broken ones, in drawn order; None to leave broken ones out.
        size: side of the images in px.
        tokenize: captions -> (B, 77) uint16.
        workers: processes.
        max_broken: largest share of the read rows that may be broken.
        say: gets a line about the progress every ten seconds.

    Returns:
        The account: {"read": n, "packed": n, "broken": {kind: n for all of `KINDS`}}.

    Raises:
        UserError: too many rows are broken, the spare rows do not suffice, a file cannot be read,
            or the disk is full.
    """
    target = Path(folder)
    if not len(table):
        raise UserError(f"{target}: no rows to pack; give the split at least 1")
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # of a packing that was killed
        shutil.rmtree(left, ignore_errors=True)
    with replacing(target) as split:
        split.mkdir()
        packing = _Packing(split / "images.npy", reader, table.sort_index(), size, tokenize)
        packing.fill(target, spare, workers, max_broken, say)
        account = packing.write(split)
        for name in OUTPUTS:
            (target / name).unlink(missing_ok=True)
    return account


class _Packing:
    """What is known of each row of a split while it is packed, but for the pixels."""

    def __init__(
        self, images: Path, reader: Reader, table: pd.DataFrame, size: int, tokenize: Tokenize
    ) -> None:
        self.reader, self.table, self.images, self.tokenize = reader, table, images, tokenize
        rows = len(table)
        free = shutil.disk_usage(images.parent).free
        if (needed := rows * (size * size * 3 + 77 * 2 + 24)) > free:
            raise UserError(
                f"{images.parent.parent}: the split needs {needed / 1e9:.1f} GB but the disk has "
                f"{free / 1e9:.1f} GB; free some or choose another folder"
            )
        pixels = np.lib.format.open_memmap(images, "w+", np.uint8, (rows, size, size, 3))
        self.offset, self.size = pixels.offset, size
        self.ids = table.index.to_numpy(np.int64, copy=True)
        self.captions: list[list[str]] = [[] for _ in range(rows)]
        self.tokens = np.zeros((rows, 77), np.uint16)
        self.pictures = np.zeros(rows, "<u8")
        self.kinds: Counter[str] = Counter()
        self.read = 0
        self.missing: list[int] = []

    def fill(
        self,
        target: Path,
        spare: pd.DataFrame | None,
        workers: int,
        max_broken: float,
        say: Callable[[str], None],
    ) -> None:
        """Pack all rows, then spare rows in place of broken ones until none is missing."""
        total = len(self.table)
        chosen, slots, used = self.table, list(range(total)), 0
        while slots:
            progress = Progress(f"pack {target.name}", len(slots), "rows", say)
            done, self.missing = 0, []
            for part in self._packed(chosen, slots, workers):
                self._take(part)
                broken = self.kinds.total()
                # Each broken row makes a spare one be read, unless there are no spare ones.
                reads = total if spare is None else total + broken
                if broken > max_broken * reads:
                    raise UserError(
                        f"{target}: at least {broken} of {reads} rows that would be read are "
                        f"broken ({self.broken()}), more than max_broken = {max_broken:g}; look at "
                        "the source or raise max_broken"
                    )
                done += len(part)
                progress.update(done, f"{broken} broken" if broken else "")
            self.read += len(slots)
            slots = sorted(self.missing)
            if spare is None:
                break
            chosen = spare.iloc[used : used + len(slots)]
            if len(chosen) < len(slots):
                raise UserError(
                    f"{target}: {len(slots)} of {total} rows are broken after {used} spare rows "
                    f"({self.broken()}), and of the source's rows that no split has, {len(chosen)} "
                    "are left for them; raise max_broken, lower rows or add shards"
                )
            used += len(slots)
            self.table = pd.concat([self.table, chosen])
        if len(slots) == total:
            raise UserError(f"{target}: no sound row ({self.broken()}); look at the source")

    def broken(self) -> str:
        """Return the number of broken rows by kind, in words."""
        return ", ".join(f"{kind} {self.kinds[kind]}" for kind in KINDS if self.kinds[kind])

    def _packed(
        self, chosen: pd.DataFrame, slots: list[int], workers: int
    ) -> Iterator[list[tuple[int, int, Any]]]:
        """Read the chosen rows in source order; see `_pack_part`."""
        columns = (chosen[name] for name in ("where", "caption", "label"))
        rows = sorted(zip(chosen.index, slots, *columns, strict=True), key=lambda row: row[0])
        parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
        job = delayed(_pack_part)
        parallel = Parallel(n_jobs=min(workers, len(parts)), return_as="generator")
        try:
            yield from parallel(
                job(self.reader, self.images, self.offset, self.size, part) for part in parts
            )
        except BrokenProcessPool:
            raise UserError(
                f"{self.images.parent.parent}: a worker was killed (out of memory?); use fewer "
                "workers and run it again"
            ) from None

    def _take(self, part: list[tuple[int, int, Any]]) -> None:
        """Keep what a worker returned."""
        sound = []
        for row, slot, found in part:
            if isinstance(found, str):
                self.kinds[found] += 1
                self.missing.append(slot)
                continue
            self.ids[slot], (self.captions[slot], self.pictures[slot]) = row, found
            sound.append(slot)
        if sound:
            self.tokens[sound] = self.tokenize([self.captions[slot][0] for slot in sound])

    def write(self, split: Path) -> dict[str, Any]:
        """Write all files of the split but the pixels, of which the missing rows are removed."""
        kept = np.setdiff1d(np.arange(len(self.ids)), self.missing)
        if self.missing:
            _keep_rows(self.images, kept)
        rows = self.table.loc[self.ids[kept]]
        captions = [self.captions[slot] for slot in kept]
        labels = rows["label"].to_numpy(np.int64)
        for name, array in (
            ("tokens", self.tokens[kept]),
            ("labels", labels),
            ("ids", self.ids[kept]),
            ("pictures", self.pictures[kept]),
        ):
            np.save(split / f"{name}.npy", array)
        _write_lines(split / "captions.txt", [texts[0] for texts in captions])
        listed = rows[["key", "where"]].map(
            lambda text: text.encode("utf-8", "backslashreplace").decode()
        )
        listed.rename_axis("id").reset_index().to_csv(split / "rows.csv", index_label="row")
        several = [(row, text) for row, texts in enumerate(captions) if texts[1:] for text in texts]
        if several:
            texts = [text for _, text in several]
            _write_lines(split / "texts.txt", texts)
            np.save(split / "texts.npy", self.tokenize(texts))
            np.save(split / "text_rows.npy", np.array([row for row, _ in several], np.int64))
        classes = self.table.attrs["classes"]
        if classes is not None and (labels >= 0).all():
            _write_lines(split / "classes.txt", classes)
        account = {
            "read": self.read,
            "packed": len(kept),
            "broken": {kind: self.kinds[kind] for kind in KINDS},
        }
        write_json(split / "account.json", account)
        return account


def _pack_part(
    reader: Reader, images: Path, offset: int, size: int, rows: list[tuple[Any, ...]]
) -> list[tuple[int, int, str | tuple[list[str], int]]]:
    """Read some rows and write their pixels in place.

    Args:
        images: `images.npy` of the split, whose pixels start at byte `offset`.
        rows: id, slot, place of the picture, caption and label of each.

    Returns:
        Id and slot of each row with a kind of `KINDS`, if it is broken, or else its captions (the
        first is the row's) and the hash of its pixels.
    """
    found: list[tuple[int, int, str | tuple[list[str], int]]] = []
    with images.open("r+b") as file:
        for row, slot, where, caption, label in rows:
            try:
                image, caption = reader.read(where, caption)
                if image is None:
                    raise Broken("no_image")
                captions = _captions(caption, label, reader.gives == "captions")
                pixels = np.ascontiguousarray(load_image(image, size))
            except Broken as error:
                found.append((row, slot, str(error)))
                continue
            file.seek(offset + slot * pixels.nbytes)
            file.write(pixels.data)
            found.append((row, slot, (captions, picture_hash(pixels))))
    return found


def _captions(caption: str | None, label: int, several: bool) -> list[str]:
    """Return the captions of a sample, each as one line; a labelled sample needs none."""
    if caption is None:
        if label < 0:
            raise Broken("no_caption")
        return [""]
    if not caption.strip().strip("\ufeff"):
        raise Broken("empty_caption")
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError:
        raise Broken("caption_not_utf8") from None
    return [one_line(text) for text in (caption.split("\n") if several else [caption])]


def _keep_rows(path: Path, rows: np.ndarray) -> None:
    """Remove all but some rows of a .npy file."""
    old, new = np.load(path, mmap_mode="r"), path.with_name("kept.npy")
    kept = np.lib.format.open_memmap(new, "w+", old.dtype, (len(rows), *old.shape[1:]))
    for start in range(0, len(rows), PART):
        kept[start : start + PART] = old[rows[start : start + PART]]
    os.replace(new, path)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
