"""Pack rows of a source into a split: one parallel pass over the pictures.

Worker processes read and resize pictures and write them in place; this process tokenises the
captions meanwhile. The split appears when all of it is there; a packing that was killed starts
over. The bytes are the same whatever the number of workers.
"""

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from taclean.data import FILES, Tokenize, array_file, one_line
from taclean.data.images import Broken, load_image
from taclean.data.readers import Reader
from taclean.util.errors import UserError
from taclean.util.files import mistaken, replacing, write_json
from taclean.util.progress import Progress

# In the order in which a sample is looked at: one with two faults counts for the first.
KINDS = (
    "no_image no_caption empty_caption caption_not_utf8 undecodable too_large wrong_mode".split()
)
COPY = "copy"  # the kind of a sound row whose picture is there already
MORE_FILES = "account.json rows.csv classes.txt texts.txt texts.npy text_rows.npy".split()
PART = 64  # rows that a worker packs at once
FEWEST = 2000  # rows of a worker, which takes two seconds to start


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
    known: np.ndarray | None = None,
    max_copies: float | None = None,
) -> dict[str, Any]:
    """Pack rows of a source's table into a split (see `taclean.data.split`).

    Rows are packed in source order (sorted ids). The next sound spare row, in drawn order, replaces
    a broken row or a copy, so that the split has exactly `len(table)` rows; without spare rows they
    are left out. A row is a copy if its pixels are those of a picture of another split, or of
    another picture in an earlier row; spare rows come last. Beside the files of every split, the
    folder gets:

    - `account.json`: what was read, packed, broken and there twice;
    - `rows.csv` with row, id, key and where: the list that can be published;
    - `classes.txt`, if there are labels: the classes that they count;
    - `texts.txt`, `texts.npy` (T, 77) uint16 and `text_rows.npy` (T,) int64, if pictures have
      several captions: all captions and the row that each belongs to.

    Args:
        table: rows of the source's table; the index holds their ids.
        spare: rows that replace broken ones, in drawn order; None to leave broken ones out.
        tokenize: captions -> (B, 77) uint16.
        max_broken: largest share of the read rows that may be broken.
        known: (M,) uint64, the pictures of other splits (see `Pairs.pictures`); None not to count
            copies in the account.
        max_copies: largest share of the read rows that may be copies; None to keep copies.

    Returns:
        The account: {"read": n, "packed": n, "broken": {kind: n for all of `KINDS`}, "copies": n}.

    A UserError says that too many rows are broken or copies, how many there are of each kind, and
    where the first picture of them should be; or that a file cannot be read, or the disk is full.
    """
    target = Path(folder)
    if not len(table):
        raise UserError(f"{target}: no rows to pack; give the split at least 1")
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # of a packing that was killed
        shutil.rmtree(left, ignore_errors=True)
    with replacing(target) as split:
        split.mkdir()
        free, needed = shutil.disk_usage(split).free, len(table) * (size * size * 3 + 77 * 2 + 24)
        if needed > free:
            text = f"needs {needed / 1e6:,.0f} MB but the disk has {free / 1e6:,.0f} MB"
            raise UserError(f"{target}: {text}; free some or choose another folder")
        images = split / "images.npy"
        with array_file(images, np.uint8, (len(table), size, size, 3)):
            pass  # the workers write its rows
        pack, table = partial(_pack_part, reader, images, size), table.sort_index()
        try:
            given = (table, spare, tokenize, workers, max_broken, known, max_copies)
            rows, tokens, bad = _fill(pack, *given, target, reader.folder)
        except BrokenProcessPool:
            raise UserError(f"{target}: a worker died (out of memory?); lower workers") from None
        kinds = [row.kind for row in bad]
        broken = {kind: kinds.count(kind) for kind in KINDS}
        account = {"read": len(rows) + len(bad), "packed": len(rows), "broken": broken}
        account |= {} if known is None else {"copies": [*kinds, *rows["kind"]].count(COPY)}
        if len(rows) < len(table):
            _keep_rows(images, rows["slot"].to_numpy(int))
        _write(split, rows, tokens, tokenize)
        if table.attrs["classes"] is not None and (rows["label"] >= 0).all():
            _write_lines(split / "classes.txt", table.attrs["classes"])
        write_json(split / "account.json", account)
        for name in (*FILES, *MORE_FILES):
            (target / name).unlink(missing_ok=True)
    return account


class _Row(NamedTuple):
    """A row of the source, and what its picture and its caption turned out to be."""

    slot: int  # its row in the split
    id: int
    key: str
    where: str | None
    label: int
    caption: str | None
    shown: int  # number of its picture in the source
    kind: str | None = None  # of `KINDS`, where it is broken, or `COPY`
    captions: tuple[str, ...] = ()  # as lines; the first is the row's
    picture: int = 0  # hash of the pixels


def _pack_part(reader: Reader, images: Path, size: int, rows: list[_Row]) -> list[_Row]:
    """Write the pixels of some rows in place; return the rows with what was found."""
    found, offset = [], np.load(images, mmap_mode="r").offset
    # Pages of a memory map would count as memory of the worker, and a full disk would kill it.
    with images.open("r+b") as file:
        for row in rows:
            try:
                image, caption = reader.read(row.where, row.caption)
                if image is None:
                    raise Broken("no_image")
                captions = _captions(caption, row.label, reader.gives == "captions")
                pixels = np.ascontiguousarray(load_image(image, size))
            except Broken as error:
                found.append(row._replace(kind=str(error)))
                continue
            file.seek(offset + row.slot * pixels.nbytes)
            file.write(pixels.data)
            digest = hashlib.blake2b(pixels.data, digest_size=8).digest()
            found.append(row._replace(captions=captions, picture=int.from_bytes(digest, "little")))
    return found


def _fill(
    pack: Callable[[list[_Row]], list[_Row]],
    table: pd.DataFrame,
    spare: pd.DataFrame | None,
    tokenize: Tokenize,
    workers: int,
    max_broken: float,
    known: np.ndarray | None,
    max_copies: float | None,
    target: Path,
    folder: Path,
) -> tuple[pd.DataFrame, np.ndarray, list[_Row]]:
    """Pack all rows, then spare rows in place of those left out until no row is missing.

    Return the packed rows by slot, a column for each field of `_Row`, their tokens (N, 77), and the
    rows left out.
    """
    tokens = np.zeros((len(table), 77), np.uint16)
    sound: list[_Row] = []
    lost: list[_Row] = []
    shares = {"broken": max_broken, "copies": max_copies or 0}
    found: Counter[str] = Counter()
    kept = (None, COPY) if max_copies is None else (None,)
    seen = dict.fromkeys(() if known is None else known.tolist(), -1)  # by hash: `shown`
    chosen, slots, used = table, list(range(len(table))), 0
    while slots:
        columns = chosen[["key", "where", "label", "caption", "picture"]].itertuples(name=None)
        rows = [_Row(slot, *values) for slot, values in zip(slots, columns, strict=True)]
        rows.sort(key=lambda row: row.id)
        parts = [rows[start : start + PART] for start in range(0, len(rows), PART)]
        parallel = Parallel(min(workers, math.ceil(len(rows) / FEWEST)), return_as="generator")
        progress, done, missing = Progress(f"pack {target.name}", len(rows), "rows"), 0, []
        for part in parallel(delayed(pack)(part) for part in parts):
            for i, row in enumerate(part):
                if row.kind is None and seen.setdefault(row.picture, row.shown) != row.shown:
                    part[i] = row._replace(kind=COPY)
            good = [row for row in part if row.kind in kept]
            bad = [row for row in part if row.kind not in kept]
            sound += good
            if good:
                tokens[[row.slot for row in good]] = tokenize([row.captions[0] for row in good])
            missing += [row.slot for row in bad]
            lost += bad
            found.update("copies" if row.kind == COPY else "broken" for row in bad)
            # Each row left out makes a spare one be read, unless there are no spare ones.
            read = len(table) + (0 if spare is None else len(lost))
            for what, share in shares.items():
                if found[what] > share * read:
                    rows = [row for row in lost if (row.kind == COPY) == (what == "copies")]
                    text = f"at least {len(rows)} of {read} rows that would be read are {what}"
                    text += " of pictures of this or another split" * (what == "copies")
                    text += f" ({_in_words(rows, folder)}), more than max_{what} = {share:g}"
                    raise UserError(f"{target}: {text}; look at the source or raise max_{what}")
            done += len(part)
            progress.update(done, f"{len(lost)} left out" if lost else "")
        if spare is None:
            break
        slots = sorted(missing)
        chosen = spare.iloc[used : used + len(slots)]
        if len(chosen) < len(slots):
            text = f"{len(slots)} of {len(table)} rows are left out after {used} spare rows"
            text += f" ({_in_words(lost, folder)}), and {len(chosen)} are left that no split has"
            raise UserError(f"{target}: {text}; raise max_broken, lower rows or add shards")
        used += len(slots)
    if not sound:
        raise UserError(f"{target}: no sound row ({_in_words(lost, folder)}); look at the source")
    # As objects: a name that is not UTF-8 cannot be in a column of strings.
    packed = pd.DataFrame(sorted(sound), columns=_Row._fields, dtype=object)
    return packed, tokens[packed["slot"].astype(int)], lost


def _in_words(lost: list[_Row], folder: Path) -> str:
    """Return how many rows are left out by kind, and where the first one's picture should be."""
    kinds, first = [row.kind for row in lost], lost[0]
    counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in (*KINDS, COPY) if kind in kinds)
    if "://" in str(first.where):
        fetch = "URLs are not fetched, download them, for example by img2dataset"
        return f"{counts}, such as {first.key!r}: {fetch}"
    place = (folder / first.where).absolute() if first.where else Path(first.key)
    return f"{counts}, such as {str(place)!r}{mistaken(place)}"


def _captions(caption: str | None, label: int, several: bool) -> tuple[str, ...]:
    """Return the captions of a sample, each as one line; a labelled sample needs none."""
    if caption is None:
        if label < 0:
            raise Broken("no_caption")
        return ("",)
    if not caption.strip().strip("\ufeff"):
        raise Broken("empty_caption")
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError:
        raise Broken("caption_not_utf8") from None
    return tuple(map(one_line, caption.split("\n") if several else [caption]))


def _keep_rows(path: Path, rows: np.ndarray) -> None:
    old, new = np.load(path, mmap_mode="r"), path.with_name("kept.npy")
    with array_file(new, np.uint8, (len(rows), *old.shape[1:])) as file:
        for start in range(0, len(rows), PART):
            file.write(old[rows[start : start + PART]].data)
    os.replace(new, path)


def _write(split: Path, rows: pd.DataFrame, tokens: np.ndarray, tokenize: Tokenize) -> None:
    np.save(split / "tokens.npy", tokens)
    np.save(split / "labels.npy", rows["label"].to_numpy(np.int64))
    np.save(split / "ids.npy", rows["id"].to_numpy(np.int64))
    np.save(split / "pictures.npy", rows["picture"].to_numpy(np.uint64))
    _write_lines(split / "captions.txt", [captions[0] for captions in rows["captions"]])
    listed = rows[["id", "key", "where"]].to_csv(index_label="row")
    (split / "rows.csv").write_bytes(listed.encode("utf-8", "backslashreplace"))
    if (rows["captions"].map(len) > 1).any():
        several = rows["captions"].explode()
        _write_lines(split / "texts.txt", several.tolist())
        np.save(split / "texts.npy", tokenize(several.tolist()))
        np.save(split / "text_rows.npy", several.index.to_numpy(np.int64))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
