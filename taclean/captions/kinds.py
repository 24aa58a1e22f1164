"""Text artifacts: what a defence wants made of the clean split's captions, once for all epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from taclean.captions.artifacts import SubCaptions, write_subcaptions, write_variants
from taclean.config.section import Section, key
from taclean.data.layout import Tokenize, load_array
from taclean.util.errors import UserError
from taclean.util.progress import Say


class TextArtifact(Section):
    """A kind of text artifact; its fields are the keys of its section in a defence's entry."""

    def write(
        self,
        folder: Path,
        captions: Sequence[str],
        tokenize: Tokenize,
        *,
        epochs: int,
        seed: int,
        workers: int,
        say: Say,
    ) -> None:
        """Make it in `folder`, which appears whole; the result does not depend on `workers`."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> Any:
        """What `write` made, memory-mapped where it is large."""
        raise NotImplementedError

    @classmethod
    def example(cls, tokens: np.ndarray) -> Any:
        """One epoch of it for rows with these tokens (N, 77), as `read` gives it, for timing."""
        raise NotImplementedError

    @classmethod
    def check(cls, made: Any, epochs: int, rows: int) -> None:
        """Refuse, with a UserError, what was made for another split or for fewer epochs."""


class Variants(TextArtifact):
    """An EDA variant of every caption, new in each epoch: (E, N, 77) uint16 tokens."""

    alpha: float = key(0.1, "EDA's share of words that are changed.", ge=0, le=1)
    same_part: bool = key(
        True,
        "Synonyms of a word's part of speech in its caption; false: of any of its readings, as the "
        "published EDA takes them.",
    )

    def write(self, folder: Path, captions: Sequence[str], tokenize: Tokenize, **more: Any) -> None:
        """Write variants.npy."""
        write_variants(folder / "variants.npy", captions, tokenize, **self.model_dump(), **more)

    @classmethod
    def read(cls, folder: Path) -> np.ndarray:
        """(E, N, 77) uint16."""
        return load_array(folder / "variants.npy", np.uint16, 3)

    @classmethod
    def example(cls, tokens: np.ndarray) -> np.ndarray:
        """The captions themselves."""
        return tokens[None]

    @classmethod
    def check(cls, made: np.ndarray, epochs: int, rows: int) -> None:
        """Check epochs and rows."""
        if made.shape[1] != rows:
            raise UserError(
                f"variants: made for {made.shape[1]} rows, the split has {rows}; make them again"
            )
        _check_epochs("variants", len(made), epochs)


class SubCaptionTexts(TextArtifact):
    """Sub-captions of the rows drawn for each epoch (TA-Cleaner, arXiv 2409.17601)."""

    samples: int = key(..., "K, rows drawn anew in each epoch.", ge=1, rows_of="clean")
    negatives: int = key(1, "Negative sub-captions per row.", ge=1)
    kinds: list[Literal["adjective", "noun", "verb"]] = key(
        ["adjective", "noun", "verb"],
        "Kinds of word that a negative replaces.",
        min_length=1,
        unique=True,
    )
    words: Literal["fitting", "any"] = key(
        "fitting",
        "What a word gives way to: a word that fits its place and makes it false, or, as a "
        "control, any word of the captions.",
    )

    def write(self, folder: Path, captions: Sequence[str], tokenize: Tokenize, **more: Any) -> None:
        """Write the arrays of SubCaptions, subcaptions.csv and account.json."""
        say = more["say"]
        given = self.model_dump() | more
        account = write_subcaptions(folder, captions, tokenize, **given)
        if not account["drawn"]:
            raise UserError(
                f"subcaptions.kinds: no caption of the split offers a negative of the kind "
                f"{' or '.join(self.kinds)}; add another kind"
            )
        total = account["captions"]
        offers = (f"{kind} {100 * n / total:.1f} %" for kind, n in account["offers"].items())
        shares = (f"{name} {100 * n:.1f} %" for name, n in account["shares"].items())
        say(f"captions that offer {', '.join(offers)} (of {total})")
        say(f"sub-captions: {account['drawn']} drawn; {', '.join(shares)}")
        if (score := account["text_only"]) is not None:
            say(f"text alone picks the negative of a pair in {100 * score:.1f} % (50: never)")

    @classmethod
    def read(cls, folder: Path) -> SubCaptions:
        """The arrays."""
        return SubCaptions.open(folder)

    @classmethod
    def example(cls, tokens: np.ndarray) -> SubCaptions:
        """The captions themselves, for a fifth of the rows."""
        drawn = np.arange(max(1, len(tokens) // 5))
        own = tokens[None, drawn]
        return SubCaptions(drawn[None], own, own[:, :, None])

    @classmethod
    def check(cls, made: SubCaptions, epochs: int, rows: int) -> None:
        """Check epochs and rows."""
        _check_epochs("sub-captions", len(made.rows), epochs)
        if made.rows.max() >= rows:
            raise UserError("sub-captions: name rows that the split does not have; make them again")


def _check_epochs(what: str, made: int, wanted: int) -> None:
    if made < wanted:
        raise UserError(f"{what}: made for {made} epochs of {wanted}; make them again")
