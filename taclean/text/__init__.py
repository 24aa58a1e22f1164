"""Caption text: augmentation (EDA) and the sub-captions of TA-Cleaner, over a WordNet lexicon."""

from taclean.text.eda import eda
from taclean.text.lexicon import Lexicon
from taclean.text.parse import KINDS
from taclean.text.subcaptions import Negative, SubCaption, subcaption
from taclean.text.vocabulary import Vocabulary

__all__ = ["KINDS", "Lexicon", "Negative", "SubCaption", "Vocabulary", "eda", "subcaption"]
