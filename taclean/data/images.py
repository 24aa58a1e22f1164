"""Decode pictures of any form to the square that is packed."""

import base64
import io
import warnings

import numpy as np
from PIL import Image, ImageFile

MAX_PIXELS = 89_478_485  # Pillow's own limit for decompression bombs
LONGEST = 20  # longer side, in shorter sides, of an image that is resized before it is cut
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # EPS is missing: it would run a program


class Broken(Exception):  # noqa: N818 - counted, not an error of the program
    """A sample that cannot be packed; the argument is one of `pack.KINDS`."""


def load_image(data: bytes | np.ndarray, size: int) -> np.ndarray:
    """Return an image, the bytes of a file or (H, W, 3) uint8 pixels, as (size, size, 3) uint8 RGB.

    The result is the same bytes as open_clip's evaluation transform gives: the shorter side becomes
    `size` (bicubic), then the centre is cut out. Images become RGB before they are resized, so that
    palettes are interpolated, too; transparency is dropped; 16-bit grey keeps its upper 8 bits.
    JPEG is decoded at full size, since `Image.draft`, which would save half of the time, changes
    pixels by several levels on average.

    A Broken says undecodable (or truncated), too_large (above 89 million pixels), or wrong_mode.
    """
    if isinstance(data, np.ndarray):
        square = data.shape[:2] == (size, size)
        return data if square else np.asarray(_square(Image.fromarray(data), size))
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other libraries turn it on for the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF and the like
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise Broken("too_large")
            image.load()
        except Image.DecompressionBombError:
            raise Broken("too_large") from None
        except (Broken, MemoryError):
            raise
        except Exception:  # Pillow's plugins raise all kinds on damaged files
            raise Broken("undecodable") from None
        return np.asarray(_square(_rgb(image), size))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Broken("wrong_mode")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":  # floats have no common range
        raise Broken("wrong_mode")
    try:
        return image.convert("RGB")
    except (ValueError, OSError):
        raise Broken("wrong_mode") from None


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    # torchvision's Resize rounds the longer side down, its CenterCrop rounds to even.
    if width <= height:
        new_width, new_height = size, int(size * height / width)
    else:
        new_width, new_height = int(size * width / height), size
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    if max(new_width, new_height) <= LONGEST * size:
        resized = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + size, top + size))
    # Resizing a very long picture as a whole would take gigabytes. The crop alone may differ by the
    # rounding of the box's corners.
    across, down = width / new_width, height / new_height
    right, bottom = min((left + size) * across, width), min((top + size) * down, height)
    box = (left * across, top * down, right, bottom)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def png(pixels: np.ndarray) -> str:
    """Return a picture (H, W, 3) uint8 as PNG in a data URI, for a page."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
