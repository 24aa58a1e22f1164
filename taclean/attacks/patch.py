"""Opaque patches: base classes of the attacks that paste one, and the pasting itself."""

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.config.section import key
from taclean.util.errors import UserError
from taclean.util.rng import uniform

REFERENCE = 224  # px of the shorter side for which sizes are given, as in the papers
PLACE = 0x9A7C  # random stream of the places
Place = Literal["random", "centre", "corner"]


class Patch(Attack, abstract=True):
    """Base class of the attacks that put an opaque patch on the picture."""

    # Pixels outside the patch keep their values in uint8, too: x / 255 * 255 rounds to x.
    takes_uint8: ClassVar[bool] = True

    size: float = key(
        16, "Side of the patch in px at 224; it scales with the picture.", ge=1, le=224
    )
    place: Place = key("centre", "Where the patch goes; random: another place for each row.")

    def paste(self, images: Tensor, patch: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Paste `patch`, (3, s, s) or (B, 3, s, s), onto images (B, 3, H, W) at `place`."""
        side = patch.shape[-1]
        return paste(images, patch, *corners(self.place, ids, seed, side, *images.shape[-2:]))


class FittedPatch(Patch, abstract=True):
    """Base class of optimised patches; fitted["patch"] is (3, s, s) in [0, 1]."""

    resize: bool = key(
        False, "Scale a patch that was fitted for another size to `size`; for `at_test`."
    )

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the optimised patch on images (B, 3, H, W) in [0, 1].

        Raises:
            UserError: the patch was fitted for another size of patch or image.
        """
        patch, side = fitted["patch"], side_of(self.size, *images.shape[-2:])
        if self.resize:
            from torchvision.transforms.functional import resize

            patch = resize(patch, [side, side]).clamp(0, 1)  # antialiased
        if patch.shape[-1] != side:
            raise UserError(
                f"fitted trigger: its patch has {patch.shape[-1]} px, but trigger.size "
                f"{self.size:g} means {side} px on these images; fit it again"
            )
        return self.paste(images, patch, ids, seed)

    def check_fitted(self, fitted: Tensors) -> None:
        """Check that `fitted` holds a square patch (3, s, s) in [0, 1] and nothing else.

        Raises:
            UserError: `fitted` belongs to another attack or is damaged.
        """
        patch = fitted.get("patch")
        side = patch.shape[-1] if patch is not None and patch.ndim else 0
        if patch is None or len(fitted) != 1 or not side or patch.shape != (3, side, side):
            raise UserError(
                "fitted trigger: it holds no patch (3, s, s); give the file of this attack"
            )
        if not (patch.min() >= 0 and patch.max() <= 1):
            raise UserError("fitted trigger: its patch leaves [0, 1]; fit it again")


def side_of(size: float, height: int, width: int) -> int:
    """Return the side in px on an image of `height` x `width` of a patch of `size` px at 224.

    Raises:
        UserError: the patch is larger than the image or smaller than a pixel.
    """
    side = round(size * min(height, width) / REFERENCE)
    if not 1 <= side <= min(height, width):
        raise UserError(
            f"trigger.size: {size:g} px at 224 are {side} px on {height} x {width}; change it"
        )
    return side


def corners(
    place: str, ids: Tensor, seed: int, side: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Return the top and left edge (B,) of the patch of each row.

    "random" draws a place from the seed and the row's id; "corner" is the lower right corner.

    Raises:
        UserError: the place is unknown.
    """
    if place == "random":
        u = uniform(ids, 2, seed, PLACE)
        top, left = (u[:, i] * (n - side + 1) for i, n in enumerate((height, width)))
        return top.long(), left.long()
    if place == "centre":
        top_left = ((height - side) // 2, (width - side) // 2)
    elif place == "corner":
        top_left = (height - side, width - side)
    else:
        raise UserError(
            f"trigger.place: {place!r} is unknown; give one of {', '.join(get_args(Place))}"
        )
    return torch.full((len(ids),), top_left[0]), torch.full((len(ids),), top_left[1])


def paste(images: Tensor, patch: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Paste `patch`, (3, s, s) or (B, 3, s, s) in [0, 1], onto each image at its own place.

    On uint8 images the patch is rounded to grey levels, as stored pictures are.
    """
    if images.dtype == torch.uint8:
        patch = (patch * 255).round()
    out = images.clone()
    top, left = top.to(images.device), left.to(images.device)
    side = torch.arange(patch.shape[-1], device=images.device)
    rows, columns = (top[:, None] + side)[:, :, None], (left[:, None] + side)[:, None, :]
    which = torch.arange(len(images), device=images.device)[:, None, None]
    # Indexing with arrays on both sides of the channel slice moves the channels to the end.
    patch = patch.to(images).expand(len(images), -1, -1, -1)
    out[which, :, rows, columns] = patch.permute(0, 2, 3, 1)
    return out
