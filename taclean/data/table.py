"""The table of a source, saved once, so that packing need not list the files again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.util.errors import UserError, first_line
from taclean.util.files import replacing

TEXTS = ["key", "where", "caption"]


def save_table(table: pd.DataFrame, path: Path | str) -> None:
    """Save a source's table as Parquet; text is stored as bytes, which need not be UTF-8."""
    with replacing(path) as temporary:
        _mapped(table, lambda text: text.encode("utf-8", "surrogatepass")).to_parquet(temporary)


def load_table(path: Path | str) -> pd.DataFrame:
    """Load what `save_table` saved; a UserError names a file that is missing or another."""
    try:
        table = pd.read_parquet(path)
        return _mapped(table, lambda text: text.decode("utf-8", "surrogatepass"))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not an index ({first_line(error)}); index it again") from None


def _mapped(table: pd.DataFrame, function: Callable[[Any], Any]) -> pd.DataFrame:
    """Return a copy whose texts went through `function`."""
    copy = table.copy()
    for name in TEXTS:
        values = [None if value is None else function(value) for value in table[name]]
        copy[name] = pd.Series(values, table.index, object)
    return copy
