"""CLIP models: create, load weights that nobody trusts, encode pictures and captions."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from open_clip import CLIP as CLIP
else:
    CLIP = Any  # for annotations; importing open_clip takes seconds
