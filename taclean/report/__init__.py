"""The report: figures, and the pages that show them with tables and words."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def code_of(module: str) -> list[str]:
    """Return the file of a module and the files of `report` and `results` that it imports.

    As inputs of a rule, they make an edit of the code that draws a figure redraw that figure, and
    an edit of any other code redraw nothing.

    Args:
        module: its dotted name below `taclean`, such as "report.figures.asr_ca".
    """
    names = [f"taclean.{module}"]
    for name in names:  # the list grows while it is read
        path = PACKAGE.parent / f"{name.replace('.', '/')}.py"
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        for node in (node for node in nodes if isinstance(node, ast.ImportFrom) and node.module):
            for found in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                file = PACKAGE.parent / f"{found.replace('.', '/')}.py"
                inside = found.startswith(("taclean.report.", "taclean.results."))
                if inside and found not in names and file.is_file():
                    names.append(found)
    return [str(PACKAGE.parent / f"{name.replace('.', '/')}.py") for name in names]
