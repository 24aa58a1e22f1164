"""Does a defence remove the backdoor, and what does that cost?

A group of bars for each attack, a bar for each defence, on the main test split.

*Upper panel, attack success rate (ASR@1):* the share of pictures of other classes that the model
calls the attacker's target class once the attack's trigger is on them. Lower is better. *Lower
panel, clean accuracy (CA@1):* the share of untouched pictures that get their own class. Higher is
better. A defence is good where its bar is short above and still long below.

Both are *zero-shot*: the model was never trained as a classifier. A picture gets the class whose
written description ("a photo of a ...") has the embedding nearest to that of the picture. A
*trigger* is what the attacker adds to a picture to call the backdoor, such as a small patch or a
faint pattern. Each defence fine-tunes the poisoned model on clean pairs of pictures and captions.

The dotted lines are a model of the same kind that was *never poisoned*: its CA, and how often it
calls a picture the target only because the trigger covers something. ASR cannot be expected to fall
below that. With several seeds or cleanings, bars are means, lines their 95 % intervals (over
victims, or over the cleanings of one victim), and points the single runs.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.bars import bars
from taclean.results.labels import Look
from taclean.results.table import ASR, CA, main_split


def asr_ca(table: pd.DataFrame, look: Look | None = None) -> Figure:
    """Draw ASR@1 and CA@1 of each attack and defence on the main split."""
    look = look or Look()
    split = main_split(table, look)
    title = "Attack success and clean accuracy after each defence"
    return bars(table, look, [(split, ASR), (split, CA)], title)
