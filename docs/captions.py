"""Print captions of a packed split with a positive and a negative sub-caption each, as a table.

`python -m docs.captions photos/data/photos/clean` prints the rows that docs/photos.md grades.
"""

import random
import sys

from taclean.captions import Lexicon
from taclean.captions.parts import parse
from taclean.captions.replacements import tally
from taclean.captions.subcaptions import learn, subcaption
from taclean.data.split import Pairs
from taclean.results.table import markdown_table

ROWS, SHOWN = 3000, 60  # rows whose words are replaced by each other; captions to show


def rows(captions: list[str]) -> list[dict[str, str]]:
    """Return captions with the texts made of them; empty where one offers no negative."""
    lexicon, found = Lexicon.load(), []
    parses = [parse(caption, lexicon) for caption in captions]
    vocabulary = learn(captions, tally(parses, lexicon), lexicon)
    for row in random.Random(3).sample(range(len(captions)), SHOWN):
        sub = subcaption(parses[row], random.Random(row), lexicon, vocabulary=vocabulary)
        texts = (sub.positive, sub.negatives[0].text) if sub else ("", "")
        found.append(
            dict(zip(("caption", "positive", "negative"), (captions[row], *texts), strict=True))
        )
    return found


if __name__ == "__main__":
    import pandas as pd

    print(markdown_table(pd.DataFrame(rows(Pairs.open(sys.argv[1]).captions()[:ROWS])), 3))
