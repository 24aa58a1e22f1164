"""The report: figures, and the pages that show them with tables and words."""

import ast
import os
import re
from pathlib import Path

HERE = Path(__file__).parents[1]


def code_of(*modules: str) -> list[str]:
    """Return the files of modules, of what they import from `report` and `results`, and templates.

    As inputs of a rule, they make an edit of the code that draws a figure redraw that figure, and
    an edit of any other code redraw nothing. A module is a name such as "report.figures.bars". The
    paths are relative, so that a run that was moved to another clone is not drawn again.
    """
    files = [HERE / f"{module.replace('.', '/')}.py" for module in modules]
    for file in files:  # the list grows while it is read
        text = file.read_text("utf-8")
        found = [HERE / "assets/page" / name for name in re.findall(r'"(\w+\.\w+)"', text)]
        for node in ast.walk(ast.parse(text)) if file.suffix == ".py" else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                inside = [n for n in names if n.startswith(("taclean.report.", "taclean.results."))]
                found += [HERE.parent / f"{name.replace('.', '/')}.py" for name in inside]
        files += [path for path in found if path not in files and path.is_file()]
    return [*map(os.path.relpath, files)]


def text_of(figure: str) -> str:
    """Return the file with the title and the caption of a figure, such as "axes/kinds"."""
    return os.path.relpath(HERE / "assets/figures" / f"{figure.partition('/')[0]}.rst")
