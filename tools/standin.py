"""Write stand-ins of CC3M and ImageNet-1K: drawn pictures in the real forms, sizes and faults.

    python -m tools.standin --out standin

writes `standin/pairs` and `standin/imagenet`, which config/standin.yaml reads. They test the path
from files to scores without the real data sets. The pictures are emoji sprites, or one emblem per
class, on lit and grainy grounds: do not score a method on them.
"""

import argparse
import functools
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from open_clip import IMAGENET_CLASSNAMES
from PIL import Image, ImageChops

from taclean.data import scenes
from taclean.data.readers.imagenet import label_of_synset
from taclean.util.errors import UserError
from taclean.util.rng import permutation

BROKEN = {
    "truncated": "the JPEG ends in its middle",
    "empty_image": "the image has 0 bytes",
    "not_an_image": "an HTML page under the image's name, as from a dead link",
    "no_image": "there is no image, only caption and metadata",
    "no_caption": "there is no .txt, and the metadata's caption is null",
    "empty_caption": "the .txt has 0 bytes",
}
# How a packing that looks at image and caption alone counts them.
PACKED_AS = dict.fromkeys(("truncated", "empty_image", "not_an_image"), "undecodable")
FAULTS = {  # what the command writes
    "truncated": 5,
    "empty_image": 3,
    "not_an_image": 4,
    "no_image": 2,
    "no_caption": 3,
    "empty_caption": 3,
}
TARGET = "banana"
TARGET_EVERY = 50  # one sample in so many has the target as its main object
PER_SHARD = 10_000  # img2dataset's keys: shard number, then 4 digits within it
ARRIVED = 0.88  # share of CC3M's links that still answer: keys have gaps
FORMS = ("tree", "flat", "parquet")
PARQUET_ROWS = 1000
CLASSES = 1000

# Streams of the random numbers; each is followed by what it belongs to.
_KEYS, _FAULTS, _PICTURE, _ORDER, _EMBLEM = range(0x57A0, 0x57A5)
_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Gone.</body></html>\n"
)
_LARGEST = 1024  # px, the longest side of any picture
_CANVAS = 1536  # px, the side of grounds that pictures are cut from


# ---- pictures -----------------------------------------------------------------------------------


@functools.cache
def _masks(texture: str) -> tuple[Image.Image, ...]:
    """Where a texture shows its second shade: a few pitches, each larger than any picture."""
    side = _CANVAS
    y, x = (axis.astype(np.float32) for axis in np.ogrid[0:side, 0:side])
    found = []
    for pitch, slope in ((60, 0.0), (90, 0.4), (130, 1.3)):
        if texture == "striped":
            mask = (x * math.cos(slope) + y * math.sin(slope)) % pitch < pitch / 2
        elif texture == "dotted":
            mask = (x % pitch - pitch / 2) ** 2 + (y % pitch - pitch / 2) ** 2 < 0.09 * pitch**2
        else:
            mask = (x // pitch + y // pitch) % 2 == 0
        found.append(Image.fromarray(np.broadcast_to(mask, (side, side)).astype(np.uint8) * 255))
    return tuple(found)


@functools.cache
def _light() -> Image.Image:
    """Light and shade with a camera's grain, around 128."""
    rng = np.random.default_rng(_PICTURE)
    coarse = Image.fromarray(rng.integers(110, 147, (12, 12), np.uint8))
    smooth = np.asarray(coarse.resize((_CANVAS, _CANVAS), Image.Resampling.BICUBIC))
    grain = rng.standard_normal((_CANVAS, _CANVAS, 3), np.float32) * 5
    return Image.fromarray((smooth[..., None] + grain).clip(0, 255).astype(np.uint8))


def _window(picture: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    left, top = (int(rng.integers(_CANVAS - side + 1)) for side in size)
    return picture.crop((left, top, left + size[0], top + size[1]))


@dataclass(frozen=True)
class _Placed:
    """An RGBA sprite (64, 64, 4), its centre and side as shares of the picture, its turn."""

    sprite: np.ndarray
    centre: tuple[float, float]
    side: float
    angle: float


def _picture(
    colour: str,
    texture: str,
    placed: Sequence[_Placed],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Image.Image:
    """Draw `placed`, the first on top, on a ground of `size` (width, height) px: RGB."""
    base = np.array(scenes.COLOURS[colour]) + rng.integers(-14, 15, 3)
    shade = base + (28 if base.mean() < 128 else -28)
    fills = [tuple(int(v) for v in np.clip(tone, 0, 255)) for tone in (base, shade)]
    picture = Image.new("RGB", size, fills[0])
    if texture != "plain":
        masks = _masks(texture)
        mask = _window(masks[rng.integers(len(masks))], size, rng)
        picture.paste(fills[1], (0, 0), mask)
    for one in reversed(placed):
        side = max(2, round(one.side * min(size)))
        sprite = Image.fromarray(one.sprite).rotate(one.angle, Image.Resampling.BILINEAR)
        sprite = sprite.resize((side, side), Image.Resampling.BILINEAR)
        corner = [
            round(share * whole - side / 2) for share, whole in zip(one.centre, size, strict=True)
        ]
        picture.paste(sprite, (corner[0], corner[1]), sprite)
    return ImageChops.add(picture, _window(_light(), size, rng), 1, -128)


def _encoded(picture: Image.Image, kind: str, rng: np.random.Generator, exif: bool) -> bytes:
    """The file's bytes; `kind` is a key of `_KINDS`."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {}
    if exif:
        tags = Image.Exif()
        tags[0x010F], tags[0x0110], tags[0x0112] = "stand-in", "drawn", 1  # make, model, upright
        options["exif"] = tags
    if kind == "png":
        picture.convert("RGBA").save(buffer, "PNG", compress_level=1)
    elif kind == "palette":
        picture.quantize(256).save(buffer, "PNG", compress_level=1)
    elif kind == "webp":
        picture.save(buffer, "WEBP", quality=80, method=0)
    else:
        if kind in ("L", "CMYK"):
            picture = picture.convert(kind)
        options |= {"quality": int(rng.integers(75, 96)), "progressive": kind == "progressive"}
        if kind in ("RGB", "progressive"):
            options["subsampling"] = int(rng.choice([0, 2], p=[0.2, 0.8]))
        picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


# ---- CC3M ---------------------------------------------------------------------------------------

# Share of each kind of file. PNG and WebP under the name .jpg are what img2dataset leaves when it
# is told not to encode again.
_KINDS = {
    "RGB": 0.81,
    "progressive": 0.12,
    "L": 0.03,
    "CMYK": 0.02,
    "png": 0.005,
    "palette": 0.005,
    "webp": 0.01,
}
_CAPTIONS = {
    "plain": 0.60,
    "digits": 0.08,
    "quotes": 0.06,
    "person": 0.06,
    "apostrophe": 0.04,
    "script": 0.06,
    "emoji": 0.04,
    "long": 0.02,
    "spaces": 0.04,
}
_OPENINGS = ("a drawing of", "a picture of")
_STYLES = (*_OPENINGS, "vector illustration of", "illustration of", "digital art of", "cartoon of")
# "picture" in other scripts.
_WORDS = (
    "изображение",
    "εικόνα",
    "画像",
    "图片",
    "그림",
    "صورة",
    "תמונה",
    "चित्र",
    "image dessinée à l’été",
)


def _pick(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


@functools.cache
def _code_points() -> tuple[str, ...]:
    """The emoji character of each sprite."""
    return tuple(
        "".join(chr(int(part, 16)) for part in re.split("[-_ ]", row["code_point"]))
        for row in scenes.table("sprites.tsv").to_dict("records")
    )


def _caption(
    scene: scenes.Scene, size: tuple[int, int], kind: str, grey: bool, rng: np.random.Generator
) -> str:
    """A true caption in CC3M's manner: lower case, spaces around commas, no full stop."""
    text = scenes.caption(scene, "all", rng)
    while grey and "background" in text:  # a grey picture shows no red background
        text = scenes.caption(scene, "all", rng)
    text = text.removesuffix(".").replace(", ", " , ")
    text = text[0].lower() + text[1:]
    opening = next((o for o in _OPENINGS if text.startswith(o)), None)
    if opening:
        text = str(rng.choice(_STYLES)) + text.removeprefix(opening)
    main, (width, height) = scene.drawings[0], size
    noun = scenes.nouns("all")[main.label]
    if kind == "digits":
        text += f" , {width} x {height} pixels"
    elif kind == "quotes":
        text = f'" {noun.name} " : {text}'
    elif kind == "person":
        text += str(rng.choice([" by <person>", " , the work of <person> and <person>"]))
    elif kind == "apostrophe":
        text = f"here 's what <person> 's camera saw : {text}"
    elif kind == "script":
        text = f"{rng.choice(_WORDS)} : {text}"
    elif kind == "emoji":
        text += f" {_code_points()[main.sprite]}"
    elif kind == "spaces":
        text = str(rng.choice(["{}  ", " {} ", "{}\n", "{} \t", "{}\r\n"])).format(text)
        text = text.replace(" a ", "  a ", 1)
    elif kind == "long":
        facts = itertools.cycle(
            (
                f"the picture is {width} pixels wide and {height} pixels high",
                f"the {noun.name} {noun.verb('is')} {main.place} of it",
                f"and {noun.verb('is')} {main.size} in size",
                "all of it is drawn and nothing of it is a photograph",
            )
        )
        while len(text.split()) < 110:
            text += f" , {next(facts)}"
    return text


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height in px: landscape, portrait or square, sides of 300 to 1000."""
    long = int(rng.choice([450, 500, 600, 640, 800, 1000, int(rng.integers(450, 1001))]))
    ratio = float(rng.choice([1, 4 / 3, 3 / 2, 16 / 9, rng.uniform(1, 1.5)]))
    short = max(300, round(long / ratio))
    return (long, short) if rng.random() < 0.7 else (short, long)


def _samples_of(
    keys: Sequence[str], first: int, seed: int, faults: Mapping[int, str], account: dict[str, Any]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and members by suffix; writes what they are into `account`."""
    for index, key in enumerate(keys, first):
        rng = np.random.default_rng([seed, _PICTURE, index])
        fault = faults.get(index)
        classes = len(scenes.nouns("all"))
        scene_id = int(rng.integers(2**40)) * classes  # label 0, the target
        if index % TARGET_EVERY != TARGET_EVERY // 2:
            scene_id += int(rng.integers(1, classes))
        scene = scenes.scene(scene_id, seed, classes="all", second=0.4)
        size, kind, wording = _size(rng), _pick(_KINDS, rng), _pick(_CAPTIONS, rng)
        if fault == "truncated":
            kind = "RGB"  # a progressive file would still show something
        exif = kind in ("RGB", "progressive") and rng.random() < 0.1
        text = _caption(scene, size, wording, kind == "L", rng)
        if fault in ("empty_image", "not_an_image"):
            image = b"" if fault == "empty_image" else _PAGE
        else:
            sprites = [
                _Placed(scenes.sprite_sheet()[d.sprite], d.centre, d.side, d.angle)
                for d in scene.drawings
            ]
            picture = _picture(scene.colour, scene.texture, sprites, size, rng)
            image = _encoded(picture, kind, rng, exif)
        caption = {"no_caption": None, "empty_caption": ""}.get(fault or "", text)
        meta = {
            "caption": caption,
            "url": f"https://example.org/{hashlib.sha256(key.encode()).hexdigest()[:16]}.jpg",
            "key": key,
            "status": "success",
            "error_message": None,
            "width": size[0],
            "height": size[1],
            "original_width": size[0],
            "original_height": size[1],
            "exif": json.dumps({"Image Make": "stand-in", "Image Model": "drawn"} if exif else {}),
            "sha256": hashlib.sha256(image).hexdigest(),
        }
        if fault == "truncated":  # after the sum was taken, as by a full disk
            image = image[: len(image) // 2]
        members = {"jpg": image, "json": json.dumps(meta, indent=4).encode()}
        if caption is not None:
            members["txt"] = caption.encode()
        if fault == "no_image":
            del members["jpg"]
        if fault:
            account["broken"][fault].append(key)
        else:
            account["images"][kind] += 1
            account["captions"][wording] += 1
            if re.search(rf"\b{TARGET}\b", text):
                account["target"].append(key)
        yield key, members


def make_pairs(
    folder: Path | str,
    *,
    shards: int,
    per_shard: int,
    seed: int,
    broken: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write pairs in the form of CC3M on the hub (`pixparse/cc3m-wds`).

    Webdataset shards `cc3m-train-0000.tar`, ... with the members KEY.jpg, KEY.json (as img2dataset
    writes it) and KEY.txt, keys of 9 digits with gaps; and `truth.json`, what the shards hold.

    Args:
        folder: new, empty, or an older stand-in, which is replaced.
        shards: number of shards.
        per_shard: samples in each, 1 to 10,000; the broken ones count.
        seed: the same arguments give the same bytes.
        broken: number of samples with each fault of `BROKEN`; each sample has one at most.

    Returns:
        truth.json: `form`, `seed`, `shards` (file and samples), `samples`, `usable`,
        `broken` (fault: keys), `packed_as` (the number of each as a packer names it), and of the
        usable samples `images` and `captions` (kind: number) and `target` (keys of those whose
        caption names the target, banana).

    Raises:
        UserError: there are too few or too many samples, or `folder` holds other files.
    """
    total = shards * per_shard
    wanted = [fault for fault, number in broken.items() for _ in range(number)]
    if len(wanted) > total or not 1 <= per_shard <= PER_SHARD:
        raise UserError(
            f"standin: {shards} shards of {per_shard} samples with {len(wanted)} faults; give 1 to "
            f"{PER_SHARD} samples a shard, and at most one fault a sample"
        )
    faults = dict(zip(permutation(total, seed, _FAULTS).tolist(), wanted, strict=False))
    account: dict[str, Any] = {
        "form": "cc3m-wds",
        "seed": seed,
        "shards": [],
        "samples": total,
        "usable": total - len(faults),
        "broken": {fault: [] for fault in BROKEN},
        "packed_as": Counter(PACKED_AS.get(fault, fault) for fault in faults.values()),
        "images": Counter(dict.fromkeys(_KINDS, 0)),
        "captions": Counter(dict.fromkeys(_CAPTIONS, 0)),
        "target": [],
    }
    with _whole(folder) as temporary:
        for shard in range(shards):
            name = f"cc3m-train-{shard:04d}.tar"
            links = min(PER_SHARD, math.ceil(per_shard / ARRIVED))
            offsets = np.sort(permutation(links, seed, _KEYS, shard)[:per_shard])
            keys = [f"{shard * PER_SHARD + int(offset):09d}" for offset in offsets]
            samples = _samples_of(keys, shard * per_shard, seed, faults, account)
            with tarfile.open(temporary / name, "w", format=tarfile.USTAR_FORMAT) as tar:
                for key, members in samples:
                    for suffix, content in members.items():
                        _add(tar, f"{key}.{suffix}", content)
            account["shards"].append({"file": name, "samples": per_shard})
        _write_truth(temporary, account)
    return account


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    # Owner, mode and time as webdataset's writer has them, but for the time, which would differ.
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uname, info.gname = len(content), 0o444, "bigdata", "bigdata"
    tar.addfile(info, io.BytesIO(content))


# ---- ImageNet -----------------------------------------------------------------------------------


def _emblem(label: int) -> np.ndarray:
    """A class's own mark, (64, 64, 4) uint8 RGBA: 6 x 6 fields, left and right alike."""
    rng = np.random.default_rng([_EMBLEM, label])
    colours = rng.integers(0, 256, (3, 4), np.uint8)
    colours[:, 3] = 255
    colours = np.concatenate([np.zeros((1, 4), np.uint8), colours])
    half = colours[rng.choice(4, (6, 3), p=[0.3, 0.3, 0.2, 0.2])]
    fields = np.concatenate([half, half[:, ::-1]], 1)
    return np.pad(fields.repeat(10, 0).repeat(10, 1), ((2, 2), (2, 2), (0, 0)))


@functools.cache
def _class_sprites() -> tuple[tuple[np.ndarray, ...], ...]:
    """The drawings of each ImageNet class: emoji of that very name, or its emblem."""
    found: dict[str, list[np.ndarray]] = {}
    for row in scenes.table("sprites.tsv").to_dict("records"):
        found.setdefault(row["class"], []).append(scenes.sprite_sheet()[int(row["index"])])
    # Two classes share a name ("sunglasses"): the first has the drawings.
    return tuple(
        tuple(found.pop(name.lower(), ())) or (_emblem(label),)
        for label, name in enumerate(IMAGENET_CLASSNAMES)
    )


_SIZES = ((500, 375), (375, 500), (500, 333), (333, 500), (500, 500), (640, 480))
_SIZE_SHARES = (0.56, 0.14, 0.12, 0.04, 0.05, 0.03)  # the rest: any


def _validation(
    per_class: int, seed: int, broken: int, account: dict[str, Any]
) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, label and bytes in the names' order; labels are mixed, as in the real set."""
    total = CLASSES * per_class
    labels = permutation(total, seed, _ORDER) // per_class
    cut = set(permutation(total, seed, _FAULTS)[:broken].tolist())
    for index, label in enumerate(labels.tolist()):
        rng = np.random.default_rng([seed, _PICTURE, index])
        which = int(np.searchsorted(np.cumsum(_SIZE_SHARES), rng.random()))
        width, height = (int(side) for side in rng.integers(200, _LARGEST // 2, 2))
        size = _SIZES[which] if which < len(_SIZES) else (width, height)
        sprites = _class_sprites()[label]
        x, y = rng.uniform(0.4, 0.6, 2)
        placed = _Placed(
            sprites[rng.integers(len(sprites))],
            (float(x), float(y)),
            float(rng.uniform(0.6, 0.85)),
            float(rng.uniform(-12, 12)),
        )
        colour, texture = str(rng.choice(list(scenes.COLOURS))), str(rng.choice(scenes.TEXTURES))
        picture = _picture(colour, texture, [placed], size, rng)
        kind = "RGB" if index in cut else _pick({"RGB": 0.975, "L": 0.02, "CMYK": 0.005}, rng)
        image = _encoded(picture, kind, rng, exif=False)
        name = f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        if index in cut:
            account["broken"]["truncated"].append(name)
            image = image[: len(image) // 2]
        else:
            account["images"][kind] += 1
        yield name, label, image


def _write_parquet(folder: Path, rows: Iterator[tuple[str, int, bytes]], total: int) -> None:
    """Files of the hub's form (`imagenet-1k`): columns image {bytes, path} and label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"names": list(IMAGENET_CLASSNAMES), "_type": "ClassLabel"}
    info = {"info": {"features": {"image": {"_type": "Image"}, "label": names}}}
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("image", image_type), ("label", pa.int64())], {"huggingface": json.dumps(info)}
    )
    (folder / "data").mkdir()
    files, synsets = math.ceil(total / PARQUET_ROWS), list(label_of_synset())
    for number in range(files):
        path = folder / "data" / f"validation-{number:05d}-of-{files:05d}.parquet"
        part = list(itertools.islice(rows, PARQUET_ROWS))
        table = {
            "image": [
                {
                    "bytes": image,
                    "path": name.replace(".JPEG", f"_{synsets[label]}.JPEG"),
                }
                for name, label, image in part
            ],
            "label": [label for _, label, _ in part],
        }
        # 100 rows a group and no compression of what is compressed already.
        pq.write_table(pa.table(table, schema=schema), path, row_group_size=100, compression="none")


def make_imagenet(
    folder: Path | str, *, per_class: int, seed: int, form: str, broken: int = 0
) -> dict[str, Any]:
    """Write labelled pictures in one of the forms of ImageNet-1K's validation set.

    - `tree`: val/WNID/ILSVRC2012_val_00000293.JPEG, all 1,000 folders;
    - `flat`: ILSVRC2012_val_00000001.JPEG, ... and `labels.txt`, a name and a label a line, as
      Caffe's val.txt: 0 to 999 in the order of the WordNet ids;
    - `parquet`: data/validation-00000-of-00001.parquet, ... as the hub's `imagenet-1k`.

    The name, the label and the bytes of a picture are the same in all forms. `truth.json` says what
    there is.

    Args:
        folder: new, empty, or an older stand-in, which is replaced.
        per_class: pictures of each of the 1,000 classes, 1 to 50.
        seed: the same arguments give the same bytes.
        broken: number of JPEGs that end in their middle.

    Returns:
        truth.json: `form`, `seed`, `samples`, `usable`, `broken` (fault: names) and `images`
        (mode: number of the usable ones).

    Raises:
        UserError: `folder` holds other files.
    """
    total = CLASSES * per_class
    account: dict[str, Any] = {
        "form": form,
        "seed": seed,
        "samples": total,
        "usable": total - broken,
        "broken": {"truncated": []},
        "images": Counter({"RGB": 0, "L": 0, "CMYK": 0}),
    }
    pictures = _validation(per_class, seed, broken, account)
    with _whole(folder) as temporary:
        if form == "parquet":
            _write_parquet(temporary, pictures, total)
        elif form == "tree":
            synsets = list(label_of_synset())
            for wnid in synsets:
                (temporary / "val" / wnid).mkdir(parents=True)
            for name, label, image in pictures:
                (temporary / "val" / synsets[label] / name).write_bytes(image)
        else:
            with (temporary / "labels.txt").open("w", encoding="ascii") as lines:
                for name, label, image in pictures:
                    (temporary / name).write_bytes(image)
                    lines.write(f"{name} {label}\n")
        _write_truth(temporary, account)
    return account


# ---- whole or not at all, and the command --------------------------------------------------------


def _write_truth(folder: Path, account: Mapping[str, Any]) -> None:
    text = json.dumps(account, indent=2, ensure_ascii=False) + "\n"
    (folder / "truth.json").write_text(text, "utf-8")


@contextmanager
def _whole(folder: Path | str) -> Iterator[Path]:
    """Yield a new folder that takes the place of `folder` if the block succeeds.

    Unlike `replacing`, nothing of an older stand-in stays: its shards would be read with the new.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder for the stand-in")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "truth.json").is_file():
        raise UserError(f"{folder}: holds other files than a stand-in; give an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{w}") for w in ("tmp", "old"))
    try:
        temporary.mkdir()
        yield temporary
        if folder.is_dir():
            os.replace(folder, old)
        os.replace(temporary, folder)
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the stand-ins that config/standin.yaml reads."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for pairs/ and imagenet/")
    parser.add_argument("--shards", type=int, default=4, help="tar files of pairs")
    parser.add_argument("--per-shard", type=int, default=300, help="samples in each")
    options = parser.parse_args(arguments)
    make_pairs(
        options.out / "pairs",
        shards=options.shards,
        per_shard=options.per_shard,
        seed=0,
        broken=FAULTS,
    )
    make_imagenet(options.out / "imagenet", per_class=1, seed=0, form="tree")


if __name__ == "__main__":
    main()
