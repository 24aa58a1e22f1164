"""Stop where a poisoning did not take, before any defence is paid for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from taclean.stages.shared import say
from taclean.util.errors import UserError
from taclean.util.files import write_json


def arguments(add: Any) -> None:
    """Options."""
    add("--attack", "the attack's name")
    add("--history", "history of the poisoned pre-training")
    add("--threshold", "least ASR@1 in percent; 0 lets everything pass", type=float, default=90.0)
    add("--out", "JSON that says the attack took")


def run(options: Any) -> None:
    """Compare the last epoch's ASR@1 on val."""
    try:
        with Path(options.history).open(newline="", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
        asr, ca = (float(last[key]) for key in ("ASR@1", "CA@1"))
    except FileNotFoundError:
        raise UserError(f"{options.history}: no such file; run the pretrain stage") from None
    except (IndexError, KeyError, ValueError):
        raise UserError(f"{options.history}: no history of a poisoned run") from None
    name, numbers = options.attack, f"ASR@1 {asr:.1f} %, CA@1 {ca:.1f} % on val"
    if not asr >= options.threshold:
        raise UserError(
            f"attack {name!r} did not take: {numbers}, below attacks.{name}.gate = "
            f"{options.threshold:g}; poison more rows, train longer, or set the gate to 0"
        )
    write_json(options.out, {"attack": name, "asr": asr, "ca": ca, "gate": options.threshold})
    say(f"gate: {name} took, {numbers}")
