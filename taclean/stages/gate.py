"""Stop where a poisoning did not take, before any defence is paid for."""

import csv
from pathlib import Path
from typing import Any

from taclean.stages.shared import option, say
from taclean.util.errors import UserError
from taclean.util.files import write_json

OPTIONS = [
    option("--attack", "the attack's name"),
    option("--history", "history of the poisoned pre-training"),
    option("--threshold", "least ASR@1 in percent; 0 accepts any", type=float, default=90.0),
    option("--out", "JSON that says the attack took"),
]


def run(options: Any) -> None:
    """Compare the last epoch's ASR@1 on val with the threshold."""
    try:
        with Path(options.history).open(newline="", encoding="utf-8") as file:
            *_, last = csv.DictReader(file)
        asr, ca = float(last["ASR@1"]), float(last["CA@1"])
    except (KeyError, TypeError, ValueError):
        text = "no history with ASR@1 and CA@1; remove it, and the next run writes it again"
        raise UserError(f"{options.history}: {text}") from None
    name, numbers = options.attack, f"ASR@1 {asr:.1f} %, CA@1 {ca:.1f} % on val"
    cure = "poison more rows, train longer, or set the gate to 0"
    if last["epoch"] == "0":  # nothing was trained
        cure = "the victim shows no backdoor: check its file, trigger and target with its source"
    if not asr >= options.threshold:  # also for a threshold that is not a number
        raise UserError(
            f"attack {name!r} did not take: {numbers}, below attacks.{name}.gate = "
            f"{options.threshold:g}; {cure}"
        )
    write_json(options.out, {"attack": name, "asr": asr, "ca": ca, "gate": options.threshold})
    say(f"gate: {name} took, {numbers}")
