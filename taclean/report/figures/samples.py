"""Pictures with and without a trigger, and what the models make of them."""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from taclean.report.figures.style import BAD, GOOD, GREY, bare, finish, panels
from taclean.report.inputs import ByAttack, Texts
from taclean.results.labels import NONE, Look
from taclean.results.table import counts_text, seeds_text

GAIN, EXAMPLES = 5, 3  # of the difference pictures; pictures of each attack
# Label, colour, marker and size.
KINDS = (
    ("clean image", "#9a9a9a", "o", 7),
    ("triggered, classified as the target", BAD, "X", 13),
    ("triggered, classified otherwise", "#0173b2", "^", 11),
)


def first(samples: ByAttack, captions: list[str], texts: Texts, look: Look) -> Figure:
    """Draw a picture without and with its trigger, what two models call it, and its sub-captions.

    The models are the one without a defence and the last. The picture is of the last attack that
    has one which the last model gives back, and there the one with the longest caption. `captions`
    are those of all pictures of the split that the samples' rows are of.
    """
    *_, tested = next(iter(samples.values()))
    drawn = texts.table.drop_duplicates("caption").set_index("caption")
    figure, [[left, right, words]] = panels(1, 3, 7.2, 1.75, width_ratios=(1, 1, 2.9))
    title = f"A triggered picture before and after {look.defense_label(tested)}"
    for attack in reversed([*samples]):
        before = samples[attack][NONE]
        back = before.fooled & samples[attack][tested].right
        own = [captions[row] for row in before.rows]
        hits = [i for i in back.nonzero()[0] if own[i] in drawn.index]
        if hits:
            break
    else:
        figure.clear()
        return finish(figure, title, "There is no triggered picture that is called what it shows.")
    shown = max(hits, key=lambda i: len(own[i].split()))
    bare(left).imshow(before.images[shown])
    left.set_xlabel("as it is", loc="left", color=GREY)
    bare(right).imshow(before.triggered_images[shown])
    right.set_xlabel("with the trigger", loc="left", color=GREY)
    sub = drawn.loc[own[shown]]
    target, label = (before.classes[i] for i in (before.target, before.labels[shown]))
    lines = [
        (look.defense_label(NONE), f"says {target} ✗", BAD),
        (look.defense_label(tested), f"says {label} ✓", GOOD),
        ("caption", own[shown], "black"),
        ("positive", sub["positive"], GOOD),
        ("negative", f"{sub['negative']} ({sub['original']} → {sub['replacement']})", BAD),
    ]
    y = 1.0
    for name, text, colour in lines:
        folded = textwrap.wrap(text, 44, max_lines=2, placeholder=" …")
        words.text(0, y, textwrap.shorten(name, 16, placeholder="…"), color=GREY, size=9, va="top")
        weight = "bold" if text.startswith("says") else "normal"
        words.text(0.29, y, "\n".join(folded), color=colour, weight=weight, size=9, va="top")
        y -= 0.1 + 0.1 * len(folded)
    bare(words)
    subtitle = (
        f"{look.attack_label(attack)}, {look.splits[0]} split, {seeds_text([before.seed])}; "
        f"selected: of {before.fooled.sum()} triggered pictures called '{target}', {back.sum()} "
        "are called what they show again"
    )
    return finish(figure, title, subtitle)


def triggers(samples: ByAttack, look: Look) -> Figure:
    """Draw each attack's trigger on a few pictures: clean, triggered, amplified difference."""
    figure, grid = panels(len(samples), 3 * EXAMPLES, 7.2, 0.1 + 0.7 * len(samples))
    for row, (attack, models) in zip(grid, samples.items(), strict=True):
        sample = models[NONE]
        pairs = np.stack([sample.images, sample.triggered_images], 1).astype(np.int16)
        which = np.linspace(0, len(pairs) - 1, EXAMPLES).astype(int)
        change = pairs[:, 1] - pairs[:, 0]
        for column, i in enumerate(which):
            difference = 128 + GAIN * change[i]
            for ax, pixels in zip(row[3 * column :], (*pairs[i], difference), strict=False):
                bare(ax).imshow(np.clip(pixels, 0, 255))
        name = textwrap.fill(look.attack_label(attack), 14)
        label = f"{name}\nmean |Δ| {np.abs(change).mean():.1f}"
        row[0].set_ylabel(label, rotation=0, ha="left", va="center", labelpad=66)
    for ax, kind in zip(grid[0], EXAMPLES * ("clean", "triggered", f"diff. ×{GAIN}"), strict=True):
        ax.set_title(kind, size=8, color=GREY)
    subtitle = (
        f"{EXAMPLES} of {len(sample.rows):,} images ({look.splits[0]} split), "
        f"{seeds_text([sample.seed])}; difference = triggered − clean, ×{GAIN} around mid-grey; "
        "|Δ| in grey levels of 255, mean over all"
    )
    return finish(figure, "What each attack adds to a picture", subtitle)


def embeddings(samples: ByAttack, look: Look) -> Figure:
    """Draw clean and triggered image embeddings: a row for each attack, a column for each defence.

    The axes of a row are fitted to all of its points, so its panels can be compared.
    """
    defenses = list(next(iter(samples.values())))
    each = max(1.25, min(1.7, 6.7 / len(defenses)))
    size = max(5.4, 0.5 + each * len(defenses)), 1.45 * len(samples)
    figure, grid = panels(len(samples), len(defenses), *size, sharex="row", sharey="row")
    for axes, (attack, models) in zip(grid, samples.items(), strict=True):
        both = [part for s in models.values() for part in (s.clean, s.triggered)]
        pca = PCA(2, svd_solver="full").fit(np.concatenate(both).astype(np.float64))
        for ax, (defense, sample) in zip(axes, models.items(), strict=True):
            sets = (sample.clean, sample.triggered[sample.fooled], sample.triggered[~sample.fooled])
            for points, (_, colour, marker, area) in zip(sets, KINDS, strict=True):
                x, y = pca.transform(points).T if len(points) else ((), ())
                ax.scatter(x, y, area, colour, marker=marker, alpha=0.7, lw=0, rasterized=True)
            words = f"{100 * sample.fooled.mean():.0f} % to the target"
            ax.text(0.03, 0.97, words, size=7.5, va="top", transform=ax.transAxes)
            bare(ax).spines[:].set_visible(True)
            if axes is grid[0]:
                ax.set_title(textwrap.fill(look.defense_label(defense), int(12 * each)))
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, high + 0.17 * (high - low))  # room for the words
        first, second = (100 * share for share in pca.explained_variance_ratio_)
        name = textwrap.fill(look.attack_label(attack), 18)
        axes[0].set_xlabel(f"PC 1 ({first:.0f} %)", size=8)
        axes[0].set_ylabel(f"{name}\nPC 2 ({second:.0f} %)", size=8)
    n = counts_text(len(s.rows) for models in samples.values() for s in models.values())
    subtitle = (
        f"first two principal components (share of variance), fitted per row; {look.splits[0]} "
        f"split, n = {n} images of other classes than the target "
        f"'{sample.classes[sample.target]}', {seeds_text([sample.seed])}"
    )
    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, ms=6, mew=0, label=label)
        for label, colour, marker, _ in KINDS
    ]
    return finish(figure, "Image embeddings with and without the trigger", subtitle, handles)
