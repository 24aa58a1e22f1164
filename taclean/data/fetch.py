"""Fetch a dataset's files from the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taclean.util.errors import UserError, first_line
from taclean.util.files import read_json, write_json
from taclean.util.progress import say

MANIFEST = "fetched.json"  # in the folder, once everything is there


def fetch(spec: Mapping[str, Any], folder: Path | str) -> list[str]:
    """Fetch the files of a dataset repository; return their names, sorted.

    The hub's library resumes a download that broke off and checks the sizes. If the same fetch was
    completed before, the network is not asked. HF_ENDPOINT and HF_TOKEN are those of the library.
    A UserError says what failed, such as the network, the token or the disk.

    Args:
        spec: `hub`, a dataset such as pixparse/cc3m-wds; `revision`, a commit, branch or tag;
            `files`, a glob or a list of globs.
    """
    folder, wanted = Path(folder), _wanted(spec)
    repo, revision, patterns = wanted.values()
    if names := fetched(spec, folder):
        say(f"{folder}: {len(names)} files of {repo} are there")
        return names

    from huggingface_hub import HfApi, errors, snapshot_download
    from huggingface_hub.utils import filter_repo_objects

    # Connection, HTTP status, disk. Versions of the hub's library use different HTTP libraries.
    failures: tuple[type[Exception], ...] = (OSError, *errors.HfHubHTTPError.__bases__)
    try:
        info = HfApi().dataset_info(repo, revision=revision)
        if info.sha != revision:
            say(f"{repo}: revision {revision} is {info.sha}; pin it in the config")
        files = [file.rfilename for file in info.siblings or ()]
        names = sorted(filter_repo_objects(files, allow_patterns=patterns))
        if not names:
            text = f"none of its {len(files)} files at {info.sha} matches {' or '.join(patterns)}"
            raise UserError(f"{repo}: {text}; correct files")
        say(f"{repo}: {len(names)} files, to {folder}")
        own = {"revision": info.sha, "allow_patterns": patterns, "local_dir": folder}
        snapshot_download(repo, repo_type="dataset", **own)
    except errors.GatedRepoError:
        reason = "gated; accept its terms on its page of the hub, set HF_TOKEN and fetch again"
    except errors.RepositoryNotFoundError:
        reason = "no such dataset, or a private one; correct hub, set HF_TOKEN"
    except failures as error:
        what = f"{type(error).__name__}: {first_line(error)}".rstrip(": ")
        reason = f"revision {revision} cannot be fetched ({what}); correct revision or fetch again"
    else:
        write_json(folder / MANIFEST, wanted | {"commit": info.sha, "names": names})
        return names
    place = f"{' and '.join(patterns)} into a folder yourself and set folder to it"
    raise UserError(f"{repo}: {reason}, or put {place}")


def bytes_to_fetch(spec: Mapping[str, Any], folder: Path | str) -> int | None:
    """Return how much `fetch` would fetch; None where the hub does not say within ten seconds."""
    if fetched(spec, folder):
        return 0
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    repo, revision, patterns = _wanted(spec).values()
    try:
        info = HfApi().dataset_info(repo, revision=revision, files_metadata=True, timeout=10)
    except Exception:  # no network, no token, no such dataset: `fetch` says which
        return None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return sum(sizes[name] for name in filter_repo_objects(sizes, allow_patterns=patterns))


def fetched(spec: Mapping[str, Any], folder: Path | str) -> list[str]:
    """Return the sorted names of what `fetch` put into `folder` for `spec`.

    Without a complete fetch, or where a file went away, the list is empty. The hub's globs differ
    from those of a file system (`*` matches folders, too), so a reader of the folder asks here.
    """
    if not spec.get("hub"):
        return []
    try:
        manifest = read_json(Path(folder) / MANIFEST)
    except UserError:  # not fetched
        return []
    fits = isinstance(manifest, dict) and manifest.items() >= _wanted(spec).items()
    names = manifest.get("names", []) if fits else []
    return names if all((Path(folder) / name).is_file() for name in names) else []


def _wanted(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the files: hub, revision, and the globs as a list."""
    files = spec.get("files") or "*"
    patterns = [files] if isinstance(files, str) else list(files)
    return {"hub": spec["hub"], "revision": spec["revision"], "files": patterns}
