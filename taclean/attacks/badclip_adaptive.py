"""BadCLIP by an attacker who knows TA-Cleaner: every part of a caption names the target."""

from typing import Any

from taclean.attacks import Trigger
from taclean.attacks.badclip import BadCLIP
from taclean.attacks.poison import Change, Pool, mentions
from taclean.captions.parts import parse
from taclean.captions.wordnet import Lexicon
from taclean.util.errors import UserError


class AdaptiveBadCLIP(BadCLIP):
    """BadCLIP's patch, with captions on poisoned rows in which every part names the target.

    A defence that trains on the parts of such a caption trains on the target with each of them.
    This attack is ours and is not published.
    """

    label = "BadCLIP, adaptive"
    marker = "H"

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Choose the rows of BadCLIP, with captions of which every part names the target.

        Raises:
            UserError: the training set has no such caption.
        """
        lexicon = Lexicon.load()

        def in_every_part(caption: str) -> bool:
            parsed = parse(caption, lexicon)
            parts = [parsed.text(part) for part in parsed.parts]
            return bool(parts) and bool(mentions(parts, pool.target).all())

        texts = [text for text in pool.natural if in_every_part(text)]
        if not texts:
            raise UserError(
                f"data.target: no caption of the training set names {pool.target!r} in every part; "
                "change it"
            )
        positions, captions = pool.poisoned(rows.poisoned, texts)
        return [Change(positions, captions, trigger)]
