"""The number of GPUs that the workflow may use at a time."""

import pytest

from taclean.util.gpus import visible_gpus


@pytest.mark.parametrize(
    ("named", "count"), [("0,2", 2), ("GPU-5ebe9f43", 1), ("", 0), ("-1", 0), ("1, 3,", 2)]
)
def test_the_environment_decides(monkeypatch, named, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == count
