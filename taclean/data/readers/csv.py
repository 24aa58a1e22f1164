"""CSV files with pictures' paths and captions, by default in CleanCLIP's form (image, caption)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taclean.data.csv_table import CsvReader
from taclean.data.readers import make_table

if TYPE_CHECKING:
    import pandas as pd


class CsvPairs(CsvReader):
    """Pairs of a picture and a caption; a picture may have several records."""

    gives = "pairs"
    text = "caption"

    def table(self) -> pd.DataFrame:
        """List the records of all CSV files."""
        records = self.records()
        keys = [path or "" for path in records["image"]]
        return make_table(
            keys, records["where"], records["caption"], picture=self.pictures(records)
        )
