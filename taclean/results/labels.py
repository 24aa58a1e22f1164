"""Labels, order, markers and colours of the methods; they come from the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

if TYPE_CHECKING:  # a figure's job need not wait for the config
    from taclean.config import Config
    from taclean.config.schema import Entry

CLEAN, NONE = "clean", "none"  # the attack and the defence that stand for "nothing was done"
FEWEST_SEEDS = 3  # fewer have no interval and settle nothing

# Seaborn's colour-blind palette; the colours of the shipped defences stand last.
PALETTE = "#cc78bc #56b4e9 #ca9161 #d55e00 #fbafe4 #ece133 #949494 #0173b2 #de8f05 #029e73".split()
# Matplotlib's filled markers, to which a figure can give a white edge.
MARKERS = "P<>hdposv^D*8HX"
# For methods without a sign of their own: then numbers, and darker and darker shades.
SIGNS = {
    "marker": [*MARKERS, *(f"${n}$" for n in range(1, 100))],
    "colour": [
        f"#{bytes(round(0.75**n * part) for part in bytes.fromhex(colour[1:])).hex()}"
        for n in range(9)
        for colour in PALETTE
    ],
}

Signs = Mapping[str, tuple[str, str]]  # name -> label, and marker or colour


def ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the different `names`: those of `known` in its order, then the others as they come."""
    names, known = list(dict.fromkeys(names)), list(known)
    return [name for name in known if name in names] + [n for n in names if n not in known]


@dataclass(frozen=True)
class Look:
    """The labels, marks and order of the methods in tables and figures.

    A name that is not listed comes after the listed ones. Its label is made from the name, and its
    marker or colour is one that no listed name has.
    """

    # In order, name -> (label, Matplotlib marker), and name -> (label, colour as #rrggbb).
    attacks: Signs = field(default_factory={CLEAN: ("Never poisoned", "X")}.copy)
    defenses: Signs = field(default_factory={NONE: ("No defence", "#7f7f7f")}.copy)
    splits: tuple[str, ...] = ()  # the test splits, the main one first
    variants: frozenset[str] = frozenset()  # defences that are another one with other settings

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Self:
        """Return the labels that `look_of` describes; every key is optional."""
        first = cls()
        return cls(
            _entries(first.attacks, mapping.get("attacks", {}), "marker"),
            _entries(first.defenses, mapping.get("defenses", {}), "colour"),
            tuple(mapping.get("splits", ())),
            frozenset(mapping.get("variants", ())),
        )

    def methods(self, defenses: Iterable[str]) -> list[str]:
        """Return the defences in order, without variants unless there is nothing else."""
        names = ordered(defenses, self.defenses)
        return [name for name in names if name not in self.variants] or names

    def attack_label(self, attack: str) -> str:
        return self.attacks[attack][0] if attack in self.attacks else _spaced(attack)

    def defense_label(self, defense: str) -> str:
        return self.defenses[defense][0] if defense in self.defenses else _spaced(defense)

    def markers(self, attacks: Iterable[str]) -> dict[str, str]:
        return _signs(self.attacks, attacks, "marker")

    def colours(self, defenses: Iterable[str]) -> dict[str, str]:
        return _signs(self.defenses, defenses, "colour")


def labelled(table: pd.DataFrame, look: Look, *keys: str) -> pd.DataFrame:
    """Return a table in the order of the config, sorted by the last key, with labels for names.

    Each key is "attack" or a column that names defences.
    """
    for key in keys:
        of_attacks = key == "attack"
        order = ordered(table[key], look.attacks if of_attacks else look.defenses)
        label = look.attack_label if of_attacks else look.defense_label
        table = table.sort_values(key, key=lambda names: names.map(order.index), kind="stable")
        table = table.assign(**{key: table[key].map(label)})
    return table


def failures(table: pd.DataFrame, look: Look) -> dict[tuple[str, str], str]:
    """Return the attack and defence of runs that could not work, as 'DEFENCE on ATTACK (why)'."""
    failed = table.dropna(subset="failed") if "failed" in table else table.assign(failed="")[:0]
    rows = failed.drop_duplicates(["attack", "defense"])[["attack", "defense", "failed"]]
    on = {name: look.attack_label(name) for name in rows["attack"]}
    names = rows.to_numpy().tolist()
    return {(a, d): f"{look.defense_label(d)} on {on[a]} ({why})" for a, d, why in names}


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _signs(known: Signs, names: Iterable[str], key: str) -> dict[str, str]:
    taken = {sign for _, sign in known.values()}
    free = (sign for sign in SIGNS[key] if sign not in taken)
    return {n: known[n][1] if n in known else next(free) for n in ordered(names, known)}


def _entries(first: Signs, entries: Mapping[str, Mapping[str, Any]], key: str) -> Signs:
    """Return name -> (label, sign); of entries that want the same sign, the first one gets it."""
    labels = {name: label for name, (label, _) in first.items()}
    owner = {sign: name for name, (_, sign) in first.items()}
    for name, entry in entries.items():
        label, sign = " ".join((entry.get("label") or _spaced(name)).split()), entry.get(key)
        taken = label in labels.values()
        labels.setdefault(name, f"{label} ({_spaced(name)})" if taken else label)
        if sign and name not in first:
            owner.setdefault(sign.lower() if key == "colour" else sign, name)
    own = {name: sign for sign, name in owner.items()}
    free = (sign for sign in SIGNS[key] if sign not in owner)
    return {name: (label, own.get(name) or next(free)) for name, label in labels.items()}


def look_of(
    config: Config, attacks: list[str] | None = None, defenses: list[str] | None = None
) -> dict[str, Any]:
    """Return the mapping that `Look.of` takes, for the run's methods or others of the config."""
    attacks = config.run.attacks if attacks is None else attacks
    defenses = config.run.defenses if defenses is None else defenses
    out: dict[str, Any] = {
        "attacks": {name: _own(name, config.attacks[name], "marker") for name in attacks},
        "defenses": {name: _own(name, config.defenses[name], "colour") for name in defenses},
        "splits": ordered(config.evaluate.splits, [config.split_of_role("test") or ""]),
    }
    if variants := [n for n in defenses if config.defenses[n].stem in {*defenses} - {n}]:
        out["variants"] = variants
    return out


def label_of(name: str, entry: Entry) -> str:
    """Return the label of an entry, such as "TA-Cleaner k6000" for taclean_k6000."""
    label = entry.label or entry.method.name_in_print()
    if not entry.label and name != entry.stem:
        rest = name.removeprefix(f"{entry.stem}_")
        label = _spaced(name if rest == name else f"{label} {rest}")
    return label


def _own(name: str, entry: Entry, mark: str) -> dict[str, str]:
    shown = getattr(entry, mark) or getattr(entry.method, mark)
    return {"label": label_of(name, entry)} | ({mark: shown} if shown else {})
