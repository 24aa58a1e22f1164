"""Caption text: augmentation (EDA) and the sub-captions of TA-Cleaner, over a WordNet lexicon."""

from taclean.text.eda import eda
from taclean.text.lexicon import Lexicon
from taclean.text.subcaptions import KINDS, Negative, SubCaption, subcaption, subcaptions

__all__ = ["KINDS", "Lexicon", "Negative", "SubCaption", "eda", "subcaption", "subcaptions"]
