"""COCO 2017's validation captions, for retrieval."""

import json

from taclean.data import Table, one_line
from taclean.data.readers import Reader, make_table
from taclean.util.errors import UserError
from taclean.util.files import reading

CAPTIONS = 5  # kept of each image; a few images of val2017 have 6 or 7
FILE = "captions_val2017.json"


class Coco(Reader):
    """The images of `val2017` with the captions of `captions_val2017.json`."""

    gives = "captions"

    def table(self) -> Table:
        """List the images by id, with at most five captions each, one a line; refuse others."""
        paths = [*self.folder.glob(FILE), *self.folder.glob(f"annotations/{FILE}")]
        if not paths or not (self.folder / "val2017").is_dir():
            missing = "val2017/" if paths else FILE
            raise UserError(f"{self.folder}: no {missing}; put {FILE} and val2017/ there")
        errors = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
        with reading(paths[0], "no COCO captions", *errors):
            notes = json.loads(paths[0].read_text("utf-8"))
            captions: dict[int, list[str]] = {}
            for note in sorted(notes["annotations"], key=lambda note: note["id"]):
                captions.setdefault(note["image_id"], []).append(one_line(note["caption"]))
            images = {image["id"]: image["file_name"] for image in notes["images"]}
            kept = {i: [text for text in texts if text][:CAPTIONS] for i, texts in captions.items()}
            lines = ["\n".join(kept[i]) if i in kept else None for i in sorted(images)]
            names = [images[i] for i in sorted(images)]
        return make_table(names, [f"val2017/{name}" for name in names], lines)
