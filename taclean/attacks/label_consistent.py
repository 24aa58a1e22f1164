"""Label-consistent: BadNet's patch on pictures of the target itself (as in CleanCLIP)."""

from __future__ import annotations

from typing import Any

from taclean.attacks import Trigger
from taclean.attacks.badnet import BadNet
from taclean.attacks.poison import Change, Pool


class LabelConsistent(BadNet):
    """A noise patch on rows whose caption names the target; captions stay as they are.

    Who reads the data finds no false pair. `poisoned` is at most the number of such rows.
    """

    label = "Label-consistent"
    marker = "8"

    def poison(self, pool: Pool, rows: Any, trigger: Trigger) -> list[Change]:
        """Rows that name the target: the patch goes on, the caption stays."""
        positions = pool.naming(rows.poisoned)
        return [Change(positions, [pool.captions[int(i)] for i in positions], trigger)]
