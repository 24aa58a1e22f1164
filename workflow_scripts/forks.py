"""Fork the jobs of a run from one process that has imported torch, open_clip, seaborn and taclean.

Importing them takes about five seconds, longer than many jobs compute, and a default run has some
eighty jobs. A job that has another taclean, or one that was edited meanwhile, imports it itself.

`forks.py SOCKET` serves, until its input ends. `forks.py SOCKET -m MODULE ...`, or with a script,
runs that in a process that the server forks, with the client's arguments, folder, environment,
input and output. The client ends with the exit status of that process, which ends when the client
does.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = (
    "joblib", "open_clip", "pandas", "pydantic", "safetensors.torch", "torchvision", "taclean.cli",
    "taclean.evaluation.evaluate", "taclean.training.loop",
)  # fmt: skip
LATER = (  # of figures
    "matplotlib.pyplot", "seaborn", "sklearn.decomposition", "snakemake.script",
    "taclean.report.figures", "taclean.results.main_table",
)  # fmt: skip
PLAIN = "TACLEAN_PLAIN"  # without a server where this is in the environment, as in what one forked


def programs(modules: Sequence[str] = MODULES) -> Path | None:
    """Start a server that ends with this process; return a folder with a `python` that asks it.

    Only `python -m taclean` and the scripts of rules ask; other calls run as usual. The server
    listens at `socket` there.
    Beside GPUs, where trainings are long, on other systems than Linux, where a process that has
    imported torch may not fork, and without a temporary folder there is no server, and None is
    returned: stages start as usual.
    """
    import atexit
    import shlex
    import shutil
    import subprocess
    import tempfile

    from taclean.util.machine import visible_gpus

    python = shutil.which("python")
    if sys.platform != "linux" or visible_gpus() or PLAIN in os.environ or python is None:
        return None
    try:
        folder = Path(tempfile.mkdtemp(prefix="taclean-"))  # the path of a socket has to be short
    except OSError:  # such as a full disk
        return None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    own = str(folder / "socket")
    server = subprocess.Popen(
        [python, __file__, own, *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"GOMP_SPINCOUNT": "20000", **os.environ},  # as `taclean` does before it imports torch
    )
    atexit.register(server.kill)
    python, ask = shlex.quote(python), shlex.join([python, "-IS", __file__, own])
    program = folder / "python"
    program.write_text(
        f'#!/bin/sh\ncase "$1 $2" in "-m taclean" | *.snakemake/scripts/*.py\\ ) exec {ask} "$@";; '
        f'esac\nexec {python} "$@"\n',
        "utf-8",
    )
    program.chmod(0o755)
    return folder


class Forks:
    """The server of a run, which imports while Snakemake looks at the jobs."""

    def __init__(self, workflow: Any) -> None:
        """Start it at once, where this call of Snakemake is likely to run jobs here."""
        here = workflow.is_main_process and workflow.resource_settings.nodes is None
        dry = {"-n", "--dry-run", "--dryrun"} & {*sys.argv}
        self._folder = programs() if here and not dry else None

    def start(self, workflow: Any) -> None:
        """Have the workflow's jobs fork, if they run on this machine."""
        if workflow.local_exec and (folder := self._folder or programs()):
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            sys.executable = str(folder / "python")  # with which Snakemake starts scripts


def ask(path: str, arguments: list[str]) -> int:
    """Have the server run `python ARGUMENTS`; return the exit status.

    Without a server that answers, this process becomes `python ARGUMENTS`.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as client:
        process = b""
        with suppress(OSError):
            client.connect(path)
            call = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
            socket.send_fds(client, [len(call).to_bytes(4)], [0, 1, 2])
            client.sendall(call)
            process = client.recv(4)
        if not process:
            os.execv(sys.executable, [sys.executable, *arguments])
        # Ctrl-C reaches the process itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(int.from_bytes(process), number))
        status = client.recv(1) or bytes([128 + signal.SIGKILL])
        client.recv(1)  # until it has ended
        return status[0]


def serve(path: str, modules: Sequence[str]) -> None:
    """Fork a process for each client; return in that process, to run its module or script."""
    import gc
    import importlib
    import select
    import shutil

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        began, sys.path[0] = time.time(), str(Path(__file__).parents[1])
        for name in modules:
            importlib.import_module(name)
        if "taclean.cli" in modules:  # build the classes of the config's entries
            from taclean import config

            config.load(config.DEFAULT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended processes are nobody's children
        later = [*LATER]  # imported while nobody waits
        both = [server, sys.stdin]
        while sys.stdin not in (ready := select.select(both, [], [], 0 if later else None)[0]):
            if not ready:
                importlib.import_module(later.pop(0))
                continue
            gc.freeze()  # or each process would look for garbage among these modules
            client, _ = server.accept()
            if not os.fork():
                break
            client.close()
        else:
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
            sys.exit()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    run(client, began)


def forget(since: float) -> None:
    """Forget taclean if this process would now import another one, or one edited after `since`."""
    import importlib.util

    own = sys.modules.pop("taclean", None)
    if own and own.__file__:
        spec = importlib.util.find_spec("taclean")
        files = Path(own.__file__).parent.rglob("*.py")  # with the broken links of some editors
        if spec and spec.origin == own.__file__ and all(f.lstat().st_mtime < since for f in files):
            sys.modules["taclean"] = own
            return
    for name in [name for name in sys.modules if name.startswith("taclean.")]:
        del sys.modules[name]


def run(client: socket.socket, began: float) -> None:
    """Run the client's module or script here; end when the client does.

    `began`: when the server began to import modules.
    """
    import runpy
    import threading

    import torch

    size, files, _, _ = socket.recv_fds(client, 4, 3)
    with client.makefile("rb") as stream:
        arguments, folder, environment = json.loads(stream.read(int.from_bytes(size)))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment, **{PLAIN: "1"})
    threads = environment.get("OMP_NUM_THREADS", "").partition(",")[0]  # may be "4,2"
    if threads.isdecimal() and int(threads):  # torch read it when it was imported
        torch.set_num_threads(int(threads))
    module = arguments[1] if arguments[0] == "-m" else ""
    sys.path[0] = folder if module else os.path.dirname(arguments[0])
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = arguments[bool(module) :]
    forget(began)
    client.sendall(os.getpid().to_bytes(4))
    threading.Thread(target=lambda: client.recv(1) or os._exit(1), daemon=True).start()
    status = 0
    try:
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    with suppress(OSError):
        client.sendall(bytes([status % 256]))
    if threading.active_count() == 2:  # no pool that has to be ended
        os._exit(0)  # without taking the modules apart


if __name__ == "__main__":
    own, *rest = sys.argv[1:]
    if rest[0] == "-m" or rest[0].endswith(".py"):
        raise SystemExit(ask(own, rest))
    serve(own, rest)
