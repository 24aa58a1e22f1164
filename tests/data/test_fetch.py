"""Fetching from the hub, against a small server that speaks as much of its protocol as is used."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import huggingface_hub.constants
import pytest

from taclean.data.fetch import MANIFEST, bytes_to_fetch, fetch, fetched
from taclean.data.readers import make_reader
from tests.helpers import refused

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "README.md": b"not wanted",
    "cc3m-train-0000.tar": b"a" * 70_000,
    "cc3m-train-0001.tar": bytes(range(256)) * 40,
    "cc3m-validation-0000.tar": b"v",
    "data/validation-00000-of-00001.parquet": b"PAR1",
}
SPEC = {"hub": "some/data-wds", "revision": COMMIT, "files": "cc3m-train-*.tar"}


class Hub(ThreadingHTTPServer):
    """One dataset; `token` makes it gated, `cut` ends its first downloads after some bytes."""

    token: str | None = None
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.requests.append((self.command, path))
        found = re.fullmatch(r"(?:/api)?/datasets/some/data-wds/(\w+)/([^/]+)(?:/(.*))?", path)
        if not found:
            return self.answer(401, X_Error_Code="RepoNotFound")
        what, revision, name = found.groups()
        if revision not in (COMMIT, "main"):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if what == "revision":
            siblings = [{"rfilename": file, "size": len(data)} for file, data in FILES.items()]
            info = {"id": "some/data-wds", "sha": COMMIT, "siblings": siblings}
            return self.answer(200, json.dumps(info).encode())
        if what == "tree":
            tree: list[dict] = [{"type": "directory", "path": "data", "oid": "0" * 40, "size": 0}]
            for file, data in FILES.items():
                oid = hashlib.sha1(data).hexdigest()
                tree.append({"type": "file", "path": file, "oid": oid, "size": len(data)})
            return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self.answer(401, X_Error_Code="GatedRepo")
        data = FILES[name]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X_Repo_Commit": COMMIT}
        start = int((self.headers["Range"] or "bytes=0-").split("=")[1].split("-")[0])
        if self.command == "GET" and self.server.cut is not None:
            part = data[start : start + self.server.cut]
            self.answer(200, part, Content_Length=str(len(data)), **headers)
            self.close_connection = True
            return None
        if start:
            of = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.answer(206, data[start:], Content_Range=of, **headers)
        return self.answer(200, data, **headers)


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield server
    server.shutdown()
    server.server_close()


def gets(hub: Hub) -> list[str]:
    paths = [path for method, path in hub.requests if method == "GET" and "resolve" in path]
    return sorted(path.rpartition("/")[2] for path in paths)


def refuse(spec: dict, folder: Path, *words: str) -> None:
    refused(lambda: fetch(spec, folder), *words)
    assert not (folder / MANIFEST).exists()


def test_the_wanted_files_arrive_and_are_not_fetched_twice(hub, tmp_path):
    assert bytes_to_fetch(SPEC, tmp_path) == 70_000 + 40 * 256
    found = fetch(SPEC, tmp_path)
    names = ["cc3m-train-0000.tar", "cc3m-train-0001.tar"]
    assert found == names
    for name in names:
        assert (tmp_path / name).read_bytes() == FILES[name]
    assert make_reader({"reader": "webdataset"} | SPEC, tmp_path).files("*.tar") == names
    assert not (tmp_path / "README.md").exists()
    assert gets(hub) == names
    before = len(hub.requests)
    assert fetch(SPEC, tmp_path) == found
    assert bytes_to_fetch(SPEC, tmp_path) == 0
    assert len(hub.requests) == before  # it does not even ask


def test_a_fetched_source_is_what_was_fetched(hub, tmp_path):
    """Not what a former revision left, and by the hub's globs, where * goes through folders."""
    (tmp_path / "cc3m-train-9999.tar").write_bytes(b"of another revision")
    fetch(SPEC, tmp_path)
    names = ["cc3m-train-0000.tar", "cc3m-train-0001.tar"]
    assert make_reader({"reader": "webdataset"} | SPEC, tmp_path).files("*.tar") == names
    spec = SPEC | {"files": "*.parquet"}
    fetch(spec, tmp_path)
    assert fetched(spec, tmp_path) == ["data/validation-00000-of-00001.parquet"]
    # Without its fetch the folder is a user's.
    assert fetched(SPEC, tmp_path) == []
    (tmp_path / MANIFEST).write_text("[]")
    assert fetched(spec, tmp_path) == []
    assert len(make_reader({"reader": "webdataset"} | SPEC, tmp_path).files("*.tar")) == 3


def test_a_branch_is_resolved_and_its_commit_told(hub, tmp_path, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr("taclean.data.fetch.say", lines.append)
    fetch(SPEC | {"revision": "main"}, tmp_path)
    assert any(COMMIT in line and "pin" in line for line in lines)
    assert json.loads((tmp_path / MANIFEST).read_text())["commit"] == COMMIT
    assert all("/main/" not in path for _, path in hub.requests if "resolve" in path)


def test_a_download_that_is_cut_off_goes_on(hub, tmp_path):
    hub.cut = 30_000
    refuse(SPEC | {"files": "cc3m-train-0000.tar"}, tmp_path, "some/data-wds", "fetch again")
    hub.cut = None
    fetch(SPEC, tmp_path)
    assert (tmp_path / "cc3m-train-0000.tar").read_bytes() == FILES["cc3m-train-0000.tar"]


def test_a_gated_dataset_says_that_it_needs_a_token(hub, tmp_path, monkeypatch):
    hub.token = "hf_secret"
    refuse(SPEC, tmp_path, "some/data-wds", "HF_TOKEN", "terms")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    refuse(SPEC, tmp_path, "some/data-wds", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert len(fetch(SPEC, tmp_path)) == 2


def test_wrong_specs_are_refused(hub, tmp_path):
    refuse(SPEC | {"hub": "some/other"}, tmp_path, "some/other", "hub")
    refuse(SPEC | {"revision": "f" * 40}, tmp_path, "f" * 40)
    refuse(SPEC | {"revision": "v9"}, tmp_path, "v9")
    refuse(SPEC | {"files": "*.zip"}, tmp_path, "*.zip")


@pytest.mark.parametrize("how", ["setting", "network"])
def test_offline_says_what_to_put_where(hub, tmp_path, monkeypatch, how):
    if how == "setting":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    else:
        hub.shutdown()
        hub.server_close()
    # With a commit the hub's library asks for half a minute before it gives up the network.
    spec = SPEC | {"revision": COMMIT if how == "setting" else "main"}
    refuse(spec, tmp_path, "some/data-wds", "cc3m-train-*.tar", "folder")
    assert bytes_to_fetch(spec, tmp_path) is None
