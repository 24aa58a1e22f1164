"""The report: figures, and the pages that show them with tables and words."""

import ast
from pathlib import Path


def code_of(module: str) -> list[str]:
    """Return the file of a module and the files of `report` and `results` that it imports.

    As inputs of a rule, they make an edit of the code that draws a figure redraw that figure, and
    an edit of any other code redraw nothing. `module` is a name such as "report.figures.asr_ca".
    """
    names = [f"taclean.{module}"]
    for name in names:  # the list grows while it is read
        for node in ast.walk(ast.parse(_file(name).read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                inside = [n for n in found if n.startswith(("taclean.report.", "taclean.results."))]
                names += [n for n in inside if n not in names and _file(n).is_file()]
    return [str(_file(name)) for name in names]


def text_of(figure: str) -> str:
    """Return the file with the title and the caption of a figure, such as "axes/kinds"."""
    name = figure.partition("/")[0]
    return str(Path(__file__).parents[1] / "assets" / "figures" / f"{name}.rst")


def _file(module: str) -> Path:
    return Path(__file__).parents[2] / f"{module.replace('.', '/')}.py"
