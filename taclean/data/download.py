"""Download single published files; a download that broke off goes on."""

from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from taclean.util.errors import UserError, first_line
from taclean.util.files import mistaken, sha256, writing
from taclean.util.progress import Progress, say

BLOCK = 2**20  # bytes read at once
SILENCE = 60  # seconds without a byte until a connection counts as broken


class Published(NamedTuple):
    """A published file: its address, its size in bytes and its SHA-256."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


_DESCRIPTORS = (
    "sachit-menon/classify_by_description_release/d1a3d8920af89bd0d6a692ed3afeb277df46e082"
)
PUBLISHED = {
    "tiny_imagenet": Published(
        "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        248_100_043,
        "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    ),
    # Menon and Vondrick 2023, https://arxiv.org/abs/2210.07183: descriptors of ImageNet's classes.
    "descriptors": Published(
        f"https://raw.githubusercontent.com/{_DESCRIPTORS}/descriptors/descriptors_imagenet.json",
        244_431,
        "0c478db8b74046ca185488f252c908420bcea585198c7bceb4e42386cc1f7d3a",
    ),
}


def fetch_published(name: str, folder: Path | str, key: str = "folder") -> Path:
    """Download a file of `PUBLISHED` into a folder; return its path.

    `key` is the config key that a user may set to a file of their own.
    """
    url, size, digest = file = PUBLISHED[name]
    path = Path(folder) / file.name
    cure = f"run it again, or put the file anywhere yourself and set {key} to it"
    download(url, path, size=size, sha256=digest, cure=cure)
    return path


def download(url: str, path: Path | str, *, size: int, sha256: str, cure: str) -> None:
    """Download a file, which appears whole or not at all; a whole one is kept.

    What a stopped download left in PATH.part is completed where the server allows it (HTTP Range),
    or else replaced. Several processes that want the same file wait for each other.

    Args:
        size: bytes of the whole file.
        sha256: its SHA-256 in hexadecimal digits.
        cure: what the user can do without this download.

    A UserError names the address, the file and the cure: no network, another answer than the file,
    a connection that broke off, a wrong sum, a full disk.
    """
    from filelock import FileLock

    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f"{path.name}.lock")):
                if _is_whole(path, size, sha256):
                    say(f"{path}: is there")
                    return
                say(f"{url}: {size / 1e6:.1f} MB, to {path}")
                while (left := _length(part)) < size:
                    try:
                        _complete(url, part, size)
                    except (OSError, HTTPException) as error:
                        if _length(part) <= left:  # else the server may send the rest, too
                            raise
                        say(f"{url}: goes on after {first_line(error)}")
                if not _is_whole(part, size, sha256):
                    part.unlink()  # nothing of it can be trusted
                    raise ValueError(f"its SHA-256 is not {sha256}")
                part.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        text = f"cannot be fetched to {path} ({first_line(error)})"
        raise UserError(f"{url}: {text}; {cure}") from None


def _complete(url: str, part: Path, size: int) -> None:
    """Fetch what `part` lacks; raise an OSError if it is still too short."""
    start = _length(part)
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urlopen(request, timeout=SILENCE)
    except HTTPError as error:
        if error.code == 416:  # no such range: `part` is of another file
            part.unlink()
        raise
    with response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0
        kind, length = response.headers.get_content_type(), response.length
        if kind == "text/html" or length not in (None, size - start):
            text = f"the answer is {kind} of {length or 'unknown'} bytes, expected {size - start}"
            raise ValueError(text)
        progress = Progress(f"fetch {part.stem}", size // 10**6, "MB", first=start // 10**6)
        with part.open("ab" if resumed else "wb") as file:
            while (block := response.read(BLOCK)) and start < size:
                start += file.write(block)
                progress.update(start // 10**6)
    if start < size:
        if page := mistaken(part):
            part.unlink()
            raise ValueError(f"not the file{page}")
        raise OSError(f"the connection broke off at {start} of {size} bytes")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_whole(path: Path, size: int, digest: str) -> bool:
    return _length(path) == size and sha256(path) == digest
