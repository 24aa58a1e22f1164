"""How methods and test splits are printed, and in which order; the config says it, no name here."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

from taclean.util.errors import UserError

CLEAN, NONE = "clean", "none"  # the attack and the defence that are always there: nothing was done

# Filled ones, which a figure can give a white edge; from seaborn's colour-blind-safe palette.
MORE_MARKERS = "P<>hdposv^D*8HX"
MORE_COLOURS = (
    *("#cc78bc", "#56b4e9", "#ca9161", "#c44601", "#0173b2", "#de8f05"),
    *("#029e73", "#5b3794", "#7a1f1f", "#1f4e3d", "#fbafe4", "#ece133"),
)


def ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """`names` without repeats: those of `known` in its order, then the others as they appear."""
    names, known = list(dict.fromkeys(names)), list(known)
    return [name for name in known if name in names] + [n for n in names if n not in known]


@dataclass(frozen=True)
class Look:
    """What tables and figures call the methods, and how they tell them apart.

    Names that it does not know follow in the order in which they appear, with a label made from
    the name, and with a marker or colour that nothing else has.

    Attributes:
        attacks: name -> (label, marker of matplotlib), in the order of tables and figures.
        defenses: name -> (label, colour as #rrggbb), in that order.
        splits: the test splits, the main one first.
        variants: defences that are another's file with other settings.
    """

    attacks: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: {CLEAN: ("Never poisoned", "X")}
    )
    defenses: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: {NONE: ("No defence", "#7f7f7f")}
    )
    splits: tuple[str, ...] = ()
    variants: frozenset[str] = frozenset()

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Look:
        """Read the workflow's param.

        Args:
            mapping: {"attacks": {NAME: {"label": str, "marker": str}}, "defenses": {NAME:
                {"label": str, "colour": str}}, "splits": [NAME, ...], "variants": [NAME, ...]};
                every key may be missing.

        Raises:
            UserError: a marker or a colour is none.
        """
        first = cls()
        return cls(
            _known(first.attacks, mapping.get("attacks", {}), "marker", _more_markers()),
            _known(first.defenses, mapping.get("defenses", {}), "colour", _more_colours()),
            tuple(mapping.get("splits", ())),
            frozenset(mapping.get("variants", ())),
        )

    def methods(self, defenses: Iterable[str]) -> list[str]:
        """The defences that have a file of their own, in order; all where there is none."""
        names = ordered(defenses, self.defenses)
        return [name for name in names if name not in self.variants] or names

    def attack_label(self, attack: str) -> str:
        """An attack as printed."""
        return self.attacks[attack][0] if attack in self.attacks else _label(attack)

    def defense_label(self, defense: str) -> str:
        """A defence as printed."""
        return self.defenses[defense][0] if defense in self.defenses else _label(defense)

    def markers(self, attacks: Iterable[str]) -> dict[str, str]:
        """The marker of each attack, in order."""
        return _signs(self.attacks, attacks, _more_markers())

    def colours(self, defenses: Iterable[str]) -> dict[str, str]:
        """The colour of each defence, in order."""
        return _signs(self.defenses, defenses, _more_colours())


def _signs(
    known: Mapping[str, tuple[str, str]], names: Iterable[str], more: Iterator[str]
) -> dict[str, str]:
    """The marker or colour of each name: those of `known`, and for others what is free."""
    names = ordered(names, known)
    wanted = {name: known[name][1] if name in known else None for name in [*known, *names]}
    found = _distinct(wanted, more)
    return {name: found[name] for name in names}


def _label(name: str) -> str:
    return name.replace("_", " ")


def _more_markers() -> Iterator[str]:
    """Markers without end: after the shapes, numbers."""
    return chain(MORE_MARKERS, (f"${n}$" for n in count(1)))


def _more_colours() -> Iterator[str]:
    """Colours without end: after the palette, hues that lie far from the last ones."""
    golden = (5**0.5 - 1) / 2
    hues = (colorsys.hls_to_rgb(golden * n % 1, (0.3, 0.5, 0.7)[n % 3], 0.6) for n in count())
    return chain(MORE_COLOURS, ("#" + "".join(f"{round(255 * c):02x}" for c in h) for h in hues))


def _distinct(wanted: Mapping[str, str | None], more: Iterator[str]) -> dict[str, str]:
    """What each name wants if it is the first to want it, else the next that nobody wants."""
    first: dict[str, str] = {}
    for name, sign in wanted.items():
        if sign is not None:
            first.setdefault(sign, name)
    free = (sign for sign in more if sign not in first)
    found: dict[str, str] = {}
    for name, sign in wanted.items():
        if sign is None or first[sign] != name:
            sign = next(s for s in free if s not in found.values())
        found[name] = sign
    return found


def _known(
    first: Mapping[str, tuple[str, str]],
    entries: Mapping[str, Mapping[str, Any]],
    key: str,
    more: Iterator[str],
) -> dict[str, tuple[str, str]]:
    """Labels, each once, and signs (markers or colours), each once."""
    labels: dict[str, str] = {name: label for name, (label, _) in first.items()}
    wanted: dict[str, str | None] = {name: sign for name, (_, sign) in first.items()}
    for name, entry in entries.items():
        label = " ".join(str(entry.get("label") or _label(name)).split())
        taken = label in labels.values()
        labels.setdefault(name, f"{label} ({_label(name)})" if taken else label)
        sign = entry.get(key)
        if sign is not None and not _is_sign(key, sign):
            form = "#rrggbb" if key == "colour" else "one of " + " ".join(MORE_MARKERS)
            raise UserError(f"{name}: {key} {sign!r} is none; write {form}")
        wanted.setdefault(name, sign.lower() if sign and key == "colour" else sign)
    signs = _distinct(wanted, more)
    return {name: (label, signs[name]) for name, label in labels.items()}


def _is_sign(key: str, sign: Any) -> bool:
    if not isinstance(sign, str):
        return False
    if key == "colour":
        return re.fullmatch("#[0-9a-fA-F]{6}", sign) is not None
    return len(sign) == 1 and sign in MORE_MARKERS
