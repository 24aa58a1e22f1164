"""BadCLIP by an attacker who knows TA-Cleaner: what is left of a caption still names the target."""

from __future__ import annotations

from typing import Any

from taclean.attacks import Trigger
from taclean.attacks.badclip import BadCLIP
from taclean.attacks.poison import Change, Pool, mentions
from taclean.captions.parts import parse
from taclean.captions.wordnet import Lexicon
from taclean.util.errors import UserError


class AdaptiveBadCLIP(BadCLIP):
    """BadCLIP's patch; poisoned captions are natural ones whose every part names the target.

    A defence that teaches the model what the parts of a caption say then says the target with each
    of them. Ours; no published attack.
    """

    label = "BadCLIP, adaptive"
    marker = "H"

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Rows as BadCLIP chooses them, with such captions.

        Raises:
            UserError: the training set has none.
        """
        lexicon = Lexicon.load()

        def in_every_part(caption: str) -> bool:
            parsed = parse(caption, lexicon)
            parts = [parsed.text(part) for part in parsed.parts]
            return bool(parts) and bool(mentions(parts, pool.target).all())

        texts = [text for text in pool.natural if in_every_part(text)]
        if not texts:
            raise UserError(
                f"no caption of the training set names {pool.target!r} in every part; change "
                "data.target"
            )
        positions, captions = pool.poisoned(rows.poisoned, texts)
        return [Change(positions, captions, trigger)]
