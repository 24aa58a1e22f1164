"""Write docs/tutorial.ipynb from docs/tutorial.md: `python -m tools.notebook`.

The text between two blocks of Python is a cell, and so is each block.
"""

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"


def notebook(page: str) -> dict[str, Any]:
    """Return the notebook of a Markdown page, in Jupyter's format 4.5."""
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(re.split(r"```python\n(.*?)```\n", page, flags=re.DOTALL)):
        lines = part.strip("\n").splitlines(keepends=True)
        cell = {"id": f"cell{number}", "metadata": {}, "source": lines}
        if number % 2:
            cells.append({"cell_type": "code", "execution_count": None, "outputs": [], **cell})
        elif lines:
            cells.append({"cell_type": "markdown", **cell})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    text = json.dumps(notebook(PAGE.read_text("utf-8")), indent=1, ensure_ascii=False)
    PAGE.with_suffix(".ipynb").write_text(f"{text}\n", "utf-8")
