"""The HTML templates of assets/page."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from taclean.data.images import png


def bold(text: str, word: str) -> Markup:
    """Return the text with the first whole occurrence of `word` in bold."""
    parts = re.split(rf"(?<!\w)({re.escape(word)})(?!\w)", text, maxsplit=1, flags=re.IGNORECASE)
    return Markup('{}<b class="bad">{}</b>{}' if len(parts) > 1 else "{}").format(*parts)


def rendered(template: str, **values: Any) -> Markup:
    environment = Environment(
        loader=PackageLoader("taclean", "assets/page"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"png": png, "bold": bold}
    return Markup(environment.get_template(template).render(**values))
