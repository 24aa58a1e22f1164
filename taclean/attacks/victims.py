"""Frozen victims: the poisoned models of a run in one archive, so that others clean the same ones.

The archive is a ZIP file. Its members have the names that the files have in results/, and
`victims.json` says how they were made, how they score on val and what their hashes are.
"""

import hashlib
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from taclean.util.errors import UserError
from taclean.util.files import reading, replacing

INDEX = "victims.json"
KEYS = {"version", "victims", "files"}


@contextmanager
def _opened(path: Path | str) -> Iterator[ZipFile]:
    if not Path(path).exists():
        raise UserError(f"{path}: no such archive; make one with `snakemake victims`")
    wrong = (BadZipFile, AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)
    packed = (EOFError, lzma.LZMAError, zlib.error)
    with reading(path, "no whole archive of victims", *wrong, *packed), ZipFile(path) as archive:
        yield archive


def read(path: Path | str) -> dict[str, Any]:
    """Read what an archive says of its victims.

    Returns:
        version: of taclean.
        victims: for each stage that trained a model, such as "pretrain/badnet/seed0", its config
            (`stage`), its scores on val in percent (`scores`) and how its weights are stored
            (`weights`, "bf16" or "fp32").
        files: SHA-256 of each member.

    Raises:
        UserError: the file is missing or is no archive of victims.
    """
    with _opened(path) as archive:
        index = json.loads(archive.read(INDEX))
        if not isinstance(index, dict) or not index.keys() >= KEYS:
            raise ValueError(f"{INDEX} lacks {', '.join(sorted(KEYS))}")
        stages = [victim["stage"] for victim in index["victims"].values()]
        if not all(isinstance(stage.get("train", {}), dict) for stage in stages):
            raise ValueError(f"{INDEX} lacks the config of a victim")
        if missing := index["files"].keys() - {*archive.namelist()}:
            raise ValueError(f"{min(missing)} is missing")
        for stage in index["victims"]:
            if (model := f"{folders_of(stage)[0]}model.safetensors") not in index["files"]:
                raise ValueError(f"{model} is missing")
        return index


def members(path: str | None, wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the members of an archive that belong to the victims of a run, none without a path.

    Args:
        wanted: the config of the stage that would make each victim.

    Raises:
        UserError: a victim is missing, or was made with other settings.
    """
    if path is None:
        return []
    from taclean.config.schema import Train

    index = read(path)
    for stage, own in wanted.items():
        if stage not in index["victims"]:
            known = ", ".join(index["victims"])
            raise UserError(f"run.victims: {path} has no {stage}; it has {known}")
        own, theirs = map(Train.deciding, (own, index["victims"][stage]["stage"]))
        # Archives of former versions do not know how the rows were poisoned.
        keys = [key for key in {**own, **theirs} if key in theirs or "." not in key]
        if changed := [key for key in keys if own.get(key) != theirs.get(key)]:
            key = changed[0]
            values = f"{theirs.get(key)} there, {own.get(key)} in this config"
            cure = "take the config that it was made with, or leave run.victims out"
            raise UserError(f"run.victims: {path}: {stage} differs in {key}: {values}; {cure}")
    folders = tuple(folder for stage in wanted for folder in folders_of(stage))
    return [name for name in index["files"] if name.startswith(folders)]


def folders_of(stage: str) -> list[str]:
    """Return the folders below results/ where a victim's model and its trigger and poison are."""
    what, *rest = stage.split("/")
    if what != "pretrain":
        return [f"{stage}/"]
    attack, seed = rest
    return [f"runs/{attack}/none/{seed}/", f"attacks/{attack}/{seed}/"]


def take(path: Path | str, name: str, out: Path | str) -> None:
    """Write one member of an archive to `out`; a UserError says that it is missing or altered."""
    if name not in (files := read(path)["files"]):
        raise UserError(f"{path}: no member {name}; give one of {', '.join(files)}")
    with _opened(path) as archive:
        data = archive.read(name)
        if hashlib.sha256(data).hexdigest() != files[name]:
            raise ValueError(f"{name} has another hash")
    with replacing(out) as temporary:
        temporary.write_bytes(data)


def write(path: Path | str, index: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write an archive; equal files make equal bytes.

    Args:
        index: what `read` returns, without `files`.
        files: the members by name.
    """
    data = {name: file.read_bytes() for name, file in sorted(files.items())}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    text = json.dumps({**index, "files": hashes}, indent=2, ensure_ascii=False)
    with replacing(path) as temporary, ZipFile(temporary, "w") as archive:
        for name, content in {INDEX: text.encode(), **data}.items():
            archive.writestr(ZipInfo(name), content)  # of 1980
