"""Caption text: augmentation (EDA) and the sub-captions of TA-Cleaner, over a WordNet lexicon."""

from taclean.captions.eda import eda
from taclean.captions.parts import KINDS
from taclean.captions.replacements import Vocabulary, tally
from taclean.captions.subcaptions import learn, offers, subcaption
from taclean.captions.wordnet import Lexicon

__all__ = ["KINDS", "Lexicon", "Vocabulary", "eda", "learn", "offers", "subcaption", "tally"]
