"""Fetch a dataset's files from the Hugging Face hub, resumable, and check that they are whole."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from taclean.util.errors import UserError
from taclean.util.files import read_json, write_json

MANIFEST = "fetched.json"  # in the folder, once everything is there


def fetch(
    spec: Mapping[str, Any], folder: Path | str, say: Callable[[str], None] = print
) -> list[tuple[str, int]]:
    """Fetch the files of a dataset repository; what is there already is not fetched again.

    A branch or tag as revision is resolved to its commit first, which is said: pin that one. The
    hub's library resumes files that were broken off. Where a former fetch was complete, nothing
    asks the network.

    Args:
        spec: `hub`, a dataset there such as pixparse/cc3m-wds, `revision` (commit, branch or tag),
            `files`, a glob or a list of globs; `endpoint`, a mirror's address (default:
            HF_ENDPOINT, the hub).
        folder: where the files go, under their names in the repository.

    Returns:
        (name, bytes) of every file, sorted by name.

    Raises:
        UserError: the hub or the dataset cannot be reached, a token is missing, no file matches,
            the disk is too small, or a file is not whole afterwards.
    """
    folder = Path(folder)
    if missing := [key for key in ("hub", "revision", "files") if not spec.get(key)]:
        raise UserError(f"{missing[0]}: not set, but the fetch needs it; set it or use folder")
    wanted = _wanted(spec)
    repo, revision, patterns = wanted.values()
    if (files := _complete(folder, wanted)) is not None:
        say(f"{folder}: {len(files)} files of {repo} are there")
        return files

    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import filter_repo_objects

    place = f"put {' and '.join(patterns)} into a folder yourself and set folder to it"
    # The http library that the hub's errors stem from differs between its versions.
    errors: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        endpoint = spec.get("endpoint")
        api = HfApi(endpoint=endpoint)
        commit = revision
        if not re.fullmatch(r"[0-9a-f]{40}", revision):
            commit = api.repo_info(repo, repo_type="dataset", revision=revision).sha
            say(f"{repo}: revision {revision} is {commit}; pin it in the config")
        tree = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
        sizes = {file.path: file.size for file in tree if hasattr(file, "size")}
        names = sorted(filter_repo_objects(sizes, allow_patterns=patterns))
        if not names:
            raise UserError(
                f"{repo}: none of its {len(sizes)} files at {commit} matches "
                f"{' or '.join(patterns)}; correct files"
            )
        _fits(folder, [(name, sizes[name]) for name in names])
        gigabytes = sum(sizes[name] for name in names) / 1e9
        say(f"{repo}: {len(names)} files, {gigabytes:.2f} GB, to {folder}")
        for name in names:
            # The hub's library tells a changed file by its time only.
            if _size(folder / name) not in (-1, sizes[name]):
                (folder / name).unlink()
        snapshot_download(
            repo,
            repo_type="dataset",
            revision=commit,
            allow_patterns=patterns,
            local_dir=folder,
            endpoint=endpoint,
        )
    except errors as error:  # connection, HTTP status, disk
        raise UserError(f"{repo}: {_reason(error, revision, place)}") from None
    files = [(name, sizes[name]) for name in names]
    for name, size in files:
        if (found := _size(folder / name)) != size:
            raise UserError(f"{folder / name}: {found} bytes, {size} on the hub; fetch again")
    write_json(folder / MANIFEST, wanted | {"commit": commit, "sizes": dict(files)})
    say(f"{folder}: {len(files)} files of {repo} are whole")
    return files


def fetched(spec: Mapping[str, Any], folder: Path | str) -> list[str]:
    """Names of what `fetch` put into `folder` for this `spec`, sorted; none without a whole fetch.

    The hub's globs are not those of a file system (`*` goes through folders, `data/` is all that
    is in there), so whoever reads a fetched folder asks here.
    """
    if not spec.get("hub"):
        return []
    return [name for name, _ in _complete(Path(folder), _wanted(spec)) or ()]


def _wanted(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the files: hub, revision, and the globs as a list."""
    patterns = spec.get("files") or []
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    return {"hub": spec["hub"], "revision": spec.get("revision"), "files": patterns}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _complete(folder: Path, wanted: Mapping[str, Any]) -> list[tuple[str, int]] | None:
    """The files of a former complete fetch of the same, if they are still whole."""
    try:
        manifest = read_json(folder / MANIFEST)
        if any(manifest[key] != value for key, value in wanted.items()):
            return None
        files = sorted(manifest["sizes"].items())
    except (UserError, KeyError, TypeError, AttributeError):
        return None
    return files if all(_size(folder / name) == size for name, size in files) else None


def _fits(folder: Path, files: list[tuple[str, int]]) -> None:
    needed = sum(size for name, size in files if _size(folder / name) != size)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {needed / 1e9:.1f} GB to fetch but {free / 1e9:.1f} GB free; "
            "free some or choose another folder"
        )


def _reason(error: BaseException, revision: str, place: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "gated, so it needs a token: accept its terms on its page of the hub, make a token "
            f"there, set HF_TOKEN to it and fetch again; or {place}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such dataset, or a private one; correct hub or set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"no revision {revision}; correct revision"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
        return f"{error.strerror}: {error.filename or 'while writing'}; mend that and fetch again"
    lines = str(error).splitlines() or [""]
    what = f"{type(error).__name__}: {lines[0]}".rstrip(": ")
    return f"the hub cannot be reached or failed ({what}); fetch again, or offline: {place}"
