"""CSV files with pictures' paths and the names or numbers of their classes."""

import re

from taclean.data import Table
from taclean.data.labels import class_name
from taclean.data.readers import make_table
from taclean.data.readers.csv import CsvReader
from taclean.util.errors import UserError


class LabelledCsv(CsvReader):
    """Pictures with labels.

    A label is the name of a class, or its index from 0. Labels count the classes in the order of
    `classes`, a list or a text file with a name on each line; without it, the names in alphabetical
    order. If all labels are indices and `classes` is not set, they count the classes of the run.
    """

    gives = "labels"
    text = "label"
    keys = (*CsvReader.keys, "classes", "captions")

    def table(self) -> Table:
        """List the records of all CSV files.

        Raises:
            UserError: a label is missing or unknown.
        """
        records = self.records()
        if not len(records):
            raise UserError(f"{self.folder}: no records; put images and their labels there")
        number = records.groupby("file").cumcount() + 1
        if missing := records.index[records["label"].isin(["", None])].tolist():
            place = f"{self.folder / records['file'][missing[0]]}, record {number[missing[0]]}"
            raise UserError(f"{place}: no label; give each image one")
        indices = [
            int(float(label)) if re.fullmatch(r"\d+(\.0)?", label) else -1
            for label in records["label"]
        ]
        names, classes = [class_name(label) for label in records["label"]], self._classes()
        if classes is None and min(indices) < 0:
            classes = sorted(set(names))
        if classes is not None:
            label_of = {name: i for i, name in enumerate(classes)}
            for row, name in enumerate(names):
                indices[row] = label_of.get(name, indices[row])
                if not 0 <= indices[row] < len(classes):
                    raise UserError(
                        f"{self.folder / records['file'][row]}: label {records['label'][row]!a} of "
                        f"{records['image'][row]!a} is not one of the {len(classes)} classes; "
                        "correct it or add it to classes"
                    )
        return make_table(
            records["key"], records["where"], None, indices, records["picture"], classes
        )

    def _classes(self) -> list[str] | None:
        """Return the class names that the config gives."""
        given = self.spec.get("classes")
        if not given:
            return None
        if isinstance(given, str):
            path = self.folder / given
            try:
                given = path.read_text("utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8"
                raise UserError(f"{path}: {reason}; set classes to a text file of names") from None
        names = [name for name in map(class_name, given) if name]
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise UserError(f"classes: {twice[0]!r} is given twice; keep one")
        return names
