"""Export WordNet 3.0 once to `lexicon.tsv.gz`, the default language data of taclean.text.

    apt-get download wordnet-base wordnet-sense-index
    python build.py --dict DIR     # DIR: usr/share/wordnet of the two packages after `dpkg -x`

The table's form and how its words are chosen: taclean/text/wordnet.py.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from taclean.text.nltk_data import copy_corpus
from taclean.text.wordnet import export

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dict", type=Path, required=True, help="the packages' usr/share/wordnet")
    parser.add_argument("--out", type=Path, default=HERE / "lexicon.tsv.gz")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        corpus = copy_corpus(arguments.dict, Path(temp) / "corpora" / "wordnet")
        rows = export(corpus, arguments.out)
    print(f"{arguments.out}: {rows} rows, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
