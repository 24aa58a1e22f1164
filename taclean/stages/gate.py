"""Stop where a poisoning did not take, before any defence is paid for."""

import csv
from pathlib import Path
from typing import Any

from taclean.stages.shared import option, say
from taclean.util.errors import UserError
from taclean.util.files import reading, write_json

OPTIONS = [
    option("--attack", "the attack's name"),
    option("--history", "history of the poisoned pre-training"),
    option("--threshold", "least ASR@1 in percent; 0 accepts any", type=float, default=90.0),
    option("--out", "JSON that says the attack took"),
]


def run(options: Any) -> None:
    with reading(options.history, "no history with ASR@1", KeyError, TypeError, ValueError):
        *_, last = csv.DictReader(Path(options.history).read_text("utf-8").splitlines())
        asr, ca = float(last["ASR@1"]), float(last["CA@1"])
    name, numbers = options.attack, f"ASR@1 {asr:.1f} %, CA@1 {ca:.1f} % on val"
    cure = "poison more rows, train longer, or set the gate to 0"
    if last.get("epoch") == "0":  # nothing was trained
        cure = "the victim shows no backdoor: check its file, trigger and target with its source"
    if not options.threshold <= asr <= 100:  # also for a threshold that is not a number
        least = f"below attacks.{name}.gate = {options.threshold:g}"
        raise UserError(f"attack {name!r} did not take: {numbers}, {least}; {cure}")
    write_json(options.out, {"attack": name, "asr": asr, "ca": ca, "gate": options.threshold})
    say(f"gate: {name} took, {numbers}")
