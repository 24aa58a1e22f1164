"""Opaque patches: where they go and how they are put there. Shared by several attacks."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from taclean.attacks import Attack, Tensors
from taclean.config.section import key
from taclean.util.errors import UserError
from taclean.util.rng import uniform

REFERENCE = 224  # sizes are px at this shorter side, as in the papers, and scale with the image
PLACE = 0x9A7C  # names the random stream of places
Place = Literal["random", "centre", "corner"]


class Patch(Attack, abstract=True):
    """An opaque patch."""

    # It goes onto the pixels as it is: x / 255 * 255 rounds to x.
    takes_uint8: ClassVar[bool] = True

    size: float = key(
        16, "Side of the patch in px at 224; it scales with the picture.", ge=1, le=224
    )
    place: Place = key("centre", "Where the patch goes; random: another place for each row.")

    def paste(self, images: Tensor, patch: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Put `patch`, (3, s, s) or (B, 3, s, s), on each image (B, 3, H, W) at its place."""
        side = patch.shape[-1]
        return paste(images, patch, *corners(self.place, ids, seed, side, *images.shape[-2:]))


class FittedPatch(Patch, abstract=True):
    """A patch that is optimised against the clean model: fitted["patch"] (3, s, s) in [0, 1]."""

    resize: bool = key(
        False, "Scale the patch to `size` where it was fitted for another one; for `at_test`."
    )

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Put the optimised patch on each image.

        Raises:
            UserError: it was fitted for another size of patch or image.
        """
        patch, side = fitted["patch"], side_of(self.size, *images.shape[-2:])
        if self.resize:
            from torchvision.transforms.functional import resize

            patch = resize(patch, [side, side]).clamp(0, 1)  # antialiased
        if patch.shape[-1] != side:
            raise UserError(
                f"fitted trigger: its patch is {patch.shape[-1]} px, trigger.size {self.size:g} "
                f"asks for {side} px on these images; fit it again"
            )
        return self.paste(images, patch, ids, seed)

    def check_fitted(self, fitted: Tensors) -> None:
        """Check that `fitted` holds a square patch (3, s, s) in [0, 1] and nothing else.

        Raises:
            UserError: it is another attack's, or damaged.
        """
        patch = fitted.get("patch")
        side = patch.shape[-1] if patch is not None and patch.ndim else 0
        if patch is None or len(fitted) != 1 or not side or patch.shape != (3, side, side):
            raise UserError(
                "fitted trigger: holds no patch (3, s, s); give the file of this attack"
            )
        if not (patch.min() >= 0 and patch.max() <= 1):
            raise UserError("fitted trigger: the patch is not in [0, 1]; fit it again")

    def untrained(self, seed: int) -> Tensors:
        """A patch of noise, for images of 224 px."""
        generator = torch.Generator().manual_seed(seed)
        patch = torch.rand(3, round(self.size), round(self.size), generator=generator)
        return {"patch": (patch * 255).round() / 255}


def side_of(size: float, height: int, width: int) -> int:
    """The side in px of a patch of `size` px at 224 on an image of `height` x `width` px.

    Raises:
        UserError: the patch is larger than the image or smaller than a pixel.
    """
    side = round(size * min(height, width) / REFERENCE)
    if not 1 <= side <= min(height, width):
        raise UserError(
            f"trigger.size: {size:g} px at 224 is {side} px on {height} x {width}; give 1 to 224"
        )
    return side


def corners(
    place: str, ids: Tensor, seed: int, side: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Top and left edge (B,) of every row's patch.

    `random` draws a place per row from (seed, id); `corner` is the lower right one.

    Raises:
        UserError: unknown place.
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
        raise UserError(f"trigger.place: {place!r}; give one of {', '.join(get_args(Place))}")
    return torch.full((len(ids),), top_left[0]), torch.full((len(ids),), top_left[1])


def paste(images: Tensor, patch: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Put `patch`, (3, s, s) or (B, 3, s, s) in [0, 1], on each image at its own place; opaque.

    On uint8 images the patch is rounded to grey levels, as a stored picture would be.
    """
    if images.dtype == torch.uint8:
        patch = (patch * 255).round()
    out = images.clone()
    top, left = top.to(images.device), left.to(images.device)
    side = torch.arange(patch.shape[-1], device=images.device)
    rows, columns = (top[:, None] + side)[:, :, None], (left[:, None] + side)[:, None, :]
    which = torch.arange(len(images), device=images.device)[:, None, None]
    # Advanced indices around the channel slice put that axis last.
    patch = patch.to(images).expand(len(images), -1, -1, -1)
    out[which, :, rows, columns] = patch.permute(0, 2, 3, 1)
    return out
