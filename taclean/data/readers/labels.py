"""CSV files with pictures' paths and the names or numbers of their classes."""

import re

from taclean.data import Table
from taclean.data.labels import class_name, read_names, unique_names
from taclean.data.readers import make_table
from taclean.data.readers.csv import PLACES, CsvReader
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
        """List the records of all CSV files; refuse a label that is missing or unknown."""
        records = self.records()
        if not len(records):
            raise UserError(f"{self.folder}: no records; put images and their labels there")
        number = records.groupby("file").cumcount() + 1
        blank = [not class_name(label or "") for label in records["label"]]
        if missing := records.index[blank].tolist():
            place = f"{self.folder / records['file'][missing[0]]}, record {number[missing[0]]}"
            raise UserError(f"{place}: no label; give each image one")
        whole = [re.fullmatch(r"(\d{1,18})(\.0)?", label) for label in records["label"]]
        indices = [int(found[1]) if found else -1 for found in whole]
        names, given = [class_name(label) for label in records["label"]], self.spec.get("classes")
        if given and isinstance(given, str):
            given = read_names(self.folder / given)
        classes = unique_names(map(class_name, given)) if given else None
        if classes is None and min(indices) < 0:
            classes = sorted(set(names))
        if classes is not None:
            label_of = {name: i for i, name in enumerate(classes)}
            for row, name in enumerate(names):
                indices[row] = label_of.get(name, indices[row])
                if not 0 <= indices[row] < len(classes):
                    file, image, label = (records[name][row] for name in ("file", "image", "label"))
                    text = f"label {label!a} of {image!a} is not one of the {len(classes)} classes"
                    raise UserError(f"{self.folder / file}: {text}; mend it or add it to classes")
        return make_table(**records[PLACES], label=indices, classes=classes)
