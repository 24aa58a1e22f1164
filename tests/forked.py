"""Fork the stages that tests run from a process that has imported torch and open_clip.

A stage imports them for about four seconds, and the tests start about three hundred stages.
`forked.py SOCKET -m MODULE ...` has the server behind the socket fork a process, which runs the
module with the client's arguments, folder, environment, input and output. The client ends with the
exit status of that process, which ends when the client does. See `helpers.forks`.
"""

import os
import pickle
import socket
import sys
from contextlib import suppress

IMPORTED = (
    "joblib", "open_clip", "pandas", "pydantic", "safetensors.torch", "snakemake.cli",
    "torchvision",
)  # fmt: skip


def ask(path: str, arguments: list[str]) -> int:
    """Have the server run `python ARGUMENTS`; return the exit status."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        call = pickle.dumps((arguments, os.getcwd(), dict(os.environ)))
        socket.send_fds(client, [len(call).to_bytes(4)], [0, 1, 2])
        client.sendall(call)
        status = client.recv(1) or b"\xff"  # it was killed
        client.recv(1)  # until it has ended
        return int.from_bytes(status)


def serve(path: str) -> None:
    """Fork a process for each client; return in that process, to run its module."""
    import gc
    import importlib
    import signal

    # As `taclean` sets it before it imports torch; no thread may run before a fork.
    os.environ["GOMP_SPINCOUNT"] = "20000"
    for name in IMPORTED:
        importlib.import_module(name)

    gc.freeze()  # or each process would look for garbage among these modules
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended processes are nobody's children
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        while True:
            client, _ = server.accept()
            if os.fork():
                client.close()
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            break
    run(client)


def run(client: socket.socket) -> None:
    """Run the client's module here; end when the client does."""
    import runpy
    import threading

    size, files, _, _ = socket.recv_fds(client, 4, 3)
    with client.makefile("rb") as stream:
        arguments, folder, environment = pickle.loads(stream.read(int.from_bytes(size)))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = arguments[1:]
    threading.Thread(target=lambda: client.recv(1) or os._exit(1), daemon=True).start()
    status = 0
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    with suppress(OSError):
        client.sendall(bytes([status]))
    if threading.active_count() == 2:  # no pool that has to be ended
        os._exit(0)  # without taking the modules apart


if __name__ == "__main__":
    path, *rest = sys.argv[1:]
    if rest:
        raise SystemExit(ask(path, rest))
    serve(path)
