"""Digests of values: of configs, arrays, tensors and weights."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor


def fingerprint(*parts: Any) -> str:
    """Hash what decides a run's result, so that no other run's checkpoint is resumed.

    The parts are JSON values, arrays, tensors and dataclasses of them.
    """

    def plain(value: Any) -> Any:
        if is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        array = np.ascontiguousarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        return [str(array.dtype), array.shape, hashlib.sha256(array.data).hexdigest()]

    text = json.dumps(parts, default=plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
