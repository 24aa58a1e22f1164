"""Stages that a server forks: they run as if they had started by themselves."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.helpers import environment
from workflow_scripts import forks

TACLEAN, SCRIPT = ("-m", "taclean"), ("./.snakemake/scripts/a.py",)
MODULE = """
import os, signal, sys, time
print(sys.argv[1:], os.getcwd() == os.environ["PYTHONPATH"], sys.stdin.read(), flush=True)
if "wait" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *given: sys.exit(7))
    print("ready", flush=True)
    time.sleep(60)
sys.exit(len(sys.argv))
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen]:
    """Start another package with the name of taclean, by the `python` of a PATH."""
    (package := tmp_path_factory.mktemp("own") / "taclean").mkdir()
    (scripts := package.parent / ".snakemake/scripts").mkdir(parents=True)
    for file in (package / "__main__.py", scripts / "a.py"):
        file.write_text(MODULE, "utf-8")
    folder = forks.programs(["torch"])
    if folder is None:
        pytest.skip("no server beside a GPU")
    while not (folder / "socket").exists():
        time.sleep(0.05)

    def start(*arguments: str, python: tuple = (folder / "python",), of: tuple = TACLEAN):
        own = {**environment(package.parent), "OMP_NUM_THREADS": "1,2"}
        return subprocess.Popen(
            [*python, *of, *arguments], cwd=package.parent, env=own, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


def test_a_forked_stage_is_like_one_that_starts_by_itself(call, tmp_path) -> None:
    alone = (sys.executable, "-IS", forks.__file__, str(tmp_path / "none"))
    for given in ({}, {"of": SCRIPT}, {"python": (sys.executable,)}, {"python": alone}):
        process = call("a b", "ü", **given)
        assert process.communicate("given")[0] == "['a b', 'ü'] True given\n"
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


def test_a_stage_takes_taclean_from_the_server_unless_it_was_edited_or_is_another(
    tmp_path, monkeypatch
) -> None:
    import taclean.cli

    known = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "taclean"}
    for name, module in known.items():
        monkeypatch.setitem(sys.modules, name, module)  # to be put back
    forks.forget(time.time() + 1)
    assert sys.modules["taclean.cli"] is taclean.cli
    forks.forget(0)
    assert not known.keys() & sys.modules.keys()
    sys.modules.update(known)
    (tmp_path / "taclean").mkdir()
    (tmp_path / "taclean/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    forks.forget(time.time() + 1)
    assert not known.keys() & sys.modules.keys()
