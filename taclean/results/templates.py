"""The templates of assets/page."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from taclean.data.images import png

TEX = str.maketrans(
    {
        **{char: rf"\{char}" for char in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"±": r"$\pm$", "−": "$-$", "Δ": r"$\Delta$", "–": "--"},
    }
)


def bold(text: str, word: str) -> Markup:
    """Return the text with the first whole occurrence of `word` in bold."""
    parts = re.split(rf"(?<!\w)({re.escape(word)})(?!\w)", text, maxsplit=1, flags=re.IGNORECASE)
    return Markup('{}<b class="bad">{}</b>{}' if len(parts) > 1 else "{}").format(*parts)


def filled(template: str, **values: Any) -> str:
    """Return a template with its values, escaped in HTML. LaTeX has << and <% for {{ and {%."""
    environment = Environment(
        loader=PackageLoader("taclean", "assets/page"), autoescape=select_autoescape(),
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"png": png, "bold": bold, "tex": lambda text: text.translate(TEX)}
    if template.endswith(".tex"):
        signs: Any = {"variable_start_string": "<<", "variable_end_string": ">>"}
        signs |= {"block_start_string": "<%", "block_end_string": "%>"}
        environment = environment.overlay(**signs)
    return environment.get_template(template).render(**values)


def rendered(template: str, **values: Any) -> Markup:
    """Return an HTML template with its values."""
    return Markup(filled(template, **values))
