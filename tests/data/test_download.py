"""Downloads of single files from a small server: what goes on, starts anew, or is refused."""

import hashlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from taclean.data import download as module
from taclean.data.download import PUBLISHED, Published, download
from taclean.data.readers import READERS
from taclean.stages import fetch
from taclean.util.files import read_json
from tests.helpers import refused

DATA = random.Random(0).randbytes(300_000)
SUM = hashlib.sha256(DATA).hexdigest()
HTML = b"<!DOCTYPE html><title>Log in</title>"


class Server(ThreadingHTTPServer):
    """One file; `cuts` are the bytes after which each of the next answers breaks off."""

    data, ranges, kind, status, length = DATA, True, "application/zip", 200, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/tiny.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
        if start and start >= len(server.data):
            return self.send_error(416)
        self.send_response(206 if start else server.status)
        if start:
            size = len(server.data)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        body = server.data[start:]
        self.send_header("Content-Type", server.kind)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0) if server.cuts else None])
        return None


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def get(server, tmp_path) -> Callable[[], None]:
    given = {"size": len(DATA), "sha256": SUM, "cure": "set folder to it"}
    return lambda: download(server.url, tmp_path / "tiny.zip", **given)


def test_a_download_that_breaks_off_goes_on(server, get, tmp_path):
    server.cuts = [100_000, 50_000]
    get()
    assert (tmp_path / "tiny.zip").read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    get()
    assert len(server.asked) == 3  # a whole file is kept
    (tmp_path / "tiny.zip").write_bytes(DATA[:-1])
    get()
    assert (tmp_path / "tiny.zip").read_bytes() == DATA  # another one is not
    assert not (tmp_path / "tiny.zip.part").exists()


def test_without_ranges_it_starts_anew(server, get, tmp_path):
    server.ranges, server.cuts = False, [100_000, 100_000]
    refused(get, server.url, "tiny.zip", "broke off at 100000 of 300000 bytes", "set folder to it")
    assert not (tmp_path / "tiny.zip").exists()
    get()
    assert (tmp_path / "tiny.zip").read_bytes() == DATA


def test_a_killed_download_goes_on(server, get, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 30_000)

    def kill(progress: module.Progress, done: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Progress, "update", kill)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert not (tmp_path / "tiny.zip").exists()
    get()
    assert (tmp_path / "tiny.zip").read_bytes() == DATA
    assert server.asked == [None, "bytes=30000-"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"data": HTML, "kind": "text/html"}, "the answer is text/html of 36 bytes"),
        ({"data": HTML, "length": False}, "an HTML page"),
        ({"data": DATA[:-9]}, "of 299991 bytes, expected 300000"),
        ({"data": DATA[:-1] + b"?"}, f"its SHA-256 is not {SUM}"),
        ({"data": DATA + b"?", "length": False}, f"its SHA-256 is not {SUM}"),
        ({"status": 404}, "HTTP Error 404"),
    ],
)
def test_other_answers_are_refused_and_the_next_call_goes_on(server, get, tmp_path, answer, says):
    for name, value in answer.items():
        setattr(server, name, value)
    message = refused(get, server.url, str(tmp_path / "tiny.zip"), says, "set folder to it")
    assert "\n" not in message
    assert not (tmp_path / "tiny.zip").exists()
    vars(server).update({name: getattr(Server, name) for name in answer})
    get()
    assert (tmp_path / "tiny.zip").read_bytes() == DATA


def test_the_rest_of_another_file_is_given_up(server, get, tmp_path):
    part = tmp_path / "tiny.zip.part"
    for server.data, says in ((DATA, "SHA-256 is not"), (DATA[:1000], "HTTP Error 416")):
        part.write_bytes(b"x" * 200_000)
        refused(get, says)
        assert not part.exists()


def test_no_network_and_a_full_disk_are_named(server, get, tmp_path, monkeypatch):
    place = Path("/dev/full")
    if place.exists():
        (tmp_path / "tiny.zip.part").symlink_to(place)
        refused(get, str(tmp_path / "tiny.zip"), "the disk is full", "run it again")
        (tmp_path / "tiny.zip.part").unlink()
    server.shutdown()
    server.server_close()
    refused(get, server.url, "Connection refused", "set folder to it")


def test_sources_share_a_download_and_the_stage_fetches_descriptors(server, tmp_path, monkeypatch):
    for name in PUBLISHED:
        monkeypatch.setitem(PUBLISHED, name, Published(server.url, len(DATA), SUM))
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(READERS["tiny_imagenet"].download, [tmp_path / "a"] * 2)] == [None, None]
    assert server.asked == [None]
    stage = {"name": "train", "reader": "tiny_imagenet", "download": True}
    options = type("Options", (), {"folder": tmp_path / "a", "out": tmp_path / "a.json"})
    fetch.run(stage, options)
    assert read_json(options.out) == {"download": "tiny_imagenet"}
    stage = {
        "name": "a",
        "reader": "folders",
        "folder": "x",
        "details": {"descriptors": "download"},
    }
    fetch.run(stage, options)
    assert read_json(options.out) == {"descriptors": "tiny.zip"}
    refused(lambda: fetch.run(stage | {"details": None}, options), "nothing to fetch")
