"""Stages that a server forks: they run as if they had started by themselves."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import environment
from workflow_scripts import forks

MODULE = """
import os, sys, time
print(sys.argv[1:], os.getcwd(), os.environ["OWN"], sys.stdin.read(), flush=True)
if "wait" in sys.argv:
    import signal
    signal.signal(signal.SIGTERM, lambda *given: sys.exit(7))
    print("ready", flush=True)
    time.sleep(60)
sys.exit(len(sys.argv))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package that has the name of taclean."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "taclean").mkdir()
    (folder / "taclean/__main__.py").write_text(MODULE, "utf-8")
    return folder


@pytest.fixture(scope="module")
def call(folder: Path) -> Callable[..., subprocess.Popen]:
    """Start `python -m taclean` with arguments, by the `python` of a PATH."""
    path = forks.path(["torch"])
    if path == os.environ["PATH"]:
        pytest.skip("no server beside a GPU")
    socket = Path(path.partition(os.pathsep)[0], "socket")
    while not socket.exists():
        time.sleep(0.05)

    def start(*arguments: str, path: str = path) -> subprocess.Popen:
        own = {**environment(folder), "PATH": path, "OWN": "x", "OMP_NUM_THREADS": "1"}
        command = [shutil.which("python", path=path) or "", "-m", "taclean", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=folder, env=own, text=True, stdin=pipe, stdout=pipe)

    return start


def test_a_forked_stage_is_like_one_that_starts_by_itself(folder, call) -> None:
    for path in ({}, {"path": os.environ["PATH"]}):
        process = call("a b", "ü", **path)
        said, _ = process.communicate("given")
        assert said.strip() == f"{['a b', 'ü']} {folder} x given"
        assert process.returncode == 3


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 7), (signal.SIGKILL, -9)])
def test_a_signal_reaches_the_stage(call, sent: signal.Signals, status: int) -> None:
    process = call("wait")
    process.stdin.close()
    process.stdout.readline()
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sent)
    assert process.stdout.read() == ""  # at its end: nobody holds it any more
    assert process.wait(10) == status


def test_a_stage_starts_by_itself_where_no_server_answers(folder, tmp_path) -> None:
    command = [sys.executable, "-IS", forks.__file__, str(tmp_path / "none"), "-m", "taclean", "a"]
    own = {**environment(folder), "OWN": "x"}
    done = subprocess.run(command, cwd=folder, env=own, input="", capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, f"['a'] {folder} x \n")
    assert "Traceback" not in done.stderr
