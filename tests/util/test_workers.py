"""Worker processes inherit nothing, and end with the process that started them."""

from __future__ import annotations

import os
import threading

import torch

from taclean.util.workers import worker_pool

lock = threading.Lock()
given: list[str] = []


def lock_is_free() -> bool:
    return lock.acquire(blocking=False)


def take(text: str) -> None:
    given.append(text)


def taken() -> list[str]:
    return given


def sum_with_threads() -> float:
    torch.set_num_threads(2)
    return float(torch.ones(10**6).sum())


def test_a_lock_that_a_thread_holds_is_free_in_the_workers():
    with lock, worker_pool(2) as pool:
        assert pool.submit(lock_is_free).result()


def test_workers_start_after_torch_has_had_threads():
    """After a fork, OpenMP's threads are gone but waited for."""
    torch.set_num_threads(2)
    torch.ones(10**6).sum()
    with worker_pool(2) as pool:
        assert pool.submit(sum_with_threads).result(timeout=120) == 10**6


def test_workers_start_with_what_they_are_given():
    with worker_pool(1, take, ("a",)) as pool:
        assert pool.submit(taken).result() == ["a"]
        assert pool.submit(os.getppid).result() != os.getpid()  # no fork of this process
    assert given == []
