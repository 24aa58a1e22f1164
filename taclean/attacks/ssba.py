"""SSBA (ISSBA): an invisible, image-dependent residual (Li et al. 2021, arXiv 2012.03816).

An encoder (of StegaStamp's kind) learns to hide a bit string in an image such that a decoder can
read it. The trigger is the encoder's residual for one fixed string; it differs between images.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taclean.attacks import Attack, Say, Tensors
from taclean.attacks.material import FitSettings, Material
from taclean.clip import CLIP
from taclean.clip.encode import device_of
from taclean.config.section import key
from taclean.data.split import Pairs
from taclean.util.errors import UserError
from taclean.util.rng import permutation

SECRET = 0x55BA  # random stream of the bit strings
GRID = 8  # the string becomes a GRID x GRID map, which is enlarged to the image's size
BOOST = 4  # largest residual at the start of the fit, as a multiple of `limit`
BOOSTED = 0.4  # share of the fit's steps in which BOOST falls to 1
READABLE = 0.9  # a model cannot learn the trigger of an encoder below this bit accuracy
STARTS = 5  # number of initial weights to try until the decoder learns
GUESSED = 0.99 * math.log(2)  # a decoder with a higher bit loss has learned nothing


class Encoder(nn.Module):
    """Map images (B, 3, H, W) in [0, 1] and bits (B, n) to residuals in [-limit, limit]."""

    def __init__(self, bits: int, width: int = 16) -> None:
        super().__init__()
        self.spread = nn.Linear(bits, 3 * GRID * GRID)
        last = nn.Conv2d(width, 3, 1)
        self.body = nn.Sequential(
            nn.Conv2d(6, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            last,
        )
        with torch.no_grad():  # a residual that starts too faint to read stays so
            self.spread.weight.mul_(4)
            last.weight.mul_(4)

    def forward(self, images: Tensor, bits: Tensor, limit: float) -> Tensor:
        """Return the residuals (B, 3, H, W)."""
        grid = self.spread(bits - 0.5).view(-1, 3, GRID, GRID)
        secret = F.interpolate(grid, images.shape[-2:], mode="nearest")
        return limit * torch.tanh(self.body(torch.cat([images - 0.5, secret], 1)))


class Decoder(nn.Module):
    """Map images (B, 3, H, W) to the logits (B, n) of their bits."""

    def __init__(self, bits: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for out in (width, width, 2 * width):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.ReLU()]
            channels = out
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID), nn.Flatten())
        self.read = nn.Linear(channels * GRID * GRID, bits)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the bits."""
        return self.read(self.body(images - 0.5))


def _no_weights(bits: int) -> Encoder:
    """Create an encoder without weights, which leaves torch's random generator alone."""
    with torch.device("meta"):
        return Encoder(bits)


class SSBA(Attack):
    """image + residual, clipped to [0, 1]; the residual hides the run's bit string."""

    label = "SSBA"
    reads_model = False
    marker = "v"

    bits: int = key(16, "Length of the hidden bit string.", ge=1)
    limit: float = key(
        16, "Largest change of a pixel by the residual, in grey levels of 255.", gt=0, le=255
    )

    class Fit(FitSettings):
        """Settings of the training of the encoder."""

        fidelity: float = key(1, "Weight of the picture's fidelity in the last epoch.", ge=0)

    def trigger(self, images: Tensor, ids: Tensor, seed: int, fitted: Tensors) -> Tensor:
        """Add the residual; `fitted` holds the encoder's weights and "secret" (bits,)."""
        here = {name: value.to(images.device) for name, value in fitted.items()}
        secret = here.pop("secret").expand(len(images), -1)
        encoder = _no_weights(self.bits)
        encoder.load_state_dict(here, assign=True)
        with torch.no_grad():  # in fp32, as the weights are
            residual = encoder(images.float(), secret, self.limit / 255)
            return (images + residual.to(images.dtype)).clamp(0, 1)

    def check_fitted(self, fitted: Tensors) -> None:
        """Check that `fitted` holds an encoder of `bits` bits and its secret.

        Raises:
            UserError: `fitted` belongs to another attack or to another number of bits.
        """
        weights = _no_weights(self.bits).state_dict()
        wanted = {name: value.shape for name, value in weights.items()}
        wanted["secret"] = torch.Size([self.bits])
        if {name: value.shape for name, value in fitted.items()} != wanted:
            raise UserError(
                f"fitted trigger: it holds no encoder of SSBA for {self.bits} bits; fit it again"
            )

    def _start(self, seed: int, number: int = 0) -> tuple[Encoder, Decoder, torch.Generator]:
        of_start = (seed + number * 0x9E3779B9) % 2**32  # torch uses 32 bits of a seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(of_start)
            encoder, decoder = Encoder(self.bits), Decoder(self.bits)
        return encoder, decoder, torch.Generator().manual_seed(of_start ^ SECRET)

    def fit(
        self, model: CLIP | None, material: Material, settings: Any, *, seed: int, say: Say = print
    ) -> tuple[Tensors, dict[str, float]]:
        """Train encoder and decoder.

        The loss is the cross-entropy of the bits + `fidelity` * 100 * the mean squared change. The
        weight of the change grows from 0 in the first epoch to `fidelity` in the last. The limit of
        the residual falls from BOOST * `limit` to `limit`, because a residual that starts too faint
        to read stays so. If the decoder has learned nothing when the limit has fallen, the fit
        starts again with new weights; there are STARTS starts at most, and the last one is kept.

        Every image hides a new random string, so that the encoder learns to hide any string. The
        seed gives the fixed string of the trigger. The CLIP model is used for its device alone.

        Returns:
            The encoder's weights and "secret"; PSNR (dB) and bit accuracy on held-out rows.

        Raises:
            UserError: there are too few rows, the loss is not finite, or the residual vanished.
        """
        pairs = material.pairs
        held_out = max(1, min(500, len(pairs) // 5))
        learn = len(pairs) - held_out
        if learn < 1:
            raise UserError("patch split: too few rows to train the encoder of ssba; add rows")
        device = torch.device("cpu") if model is None else device_of(model)
        for number in range(STARTS):
            encoder, decoder, generator = self._start(seed, number)
            encoder.to(device), decoder.to(device)
            if number == 0:
                secret = _bits((self.bits,), generator)
            last = number == STARTS - 1
            if self._learned(encoder, decoder, generator, pairs, learn, settings, seed, last, say):
                break
            say("ssba: the decoder reads no bits; starting again with new weights")
        fitted = {k: v.detach().cpu().clone() for k, v in encoder.state_dict().items()}
        fitted["secret"] = secret
        images = pairs.batch(np.arange(learn, len(pairs)))[0].to(device).float() / 255
        marked = self.trigger(images, torch.zeros(len(images)), seed, fitted)
        marked = (marked * 255).round() / 255
        with torch.no_grad():
            right = ((decoder(marked) > 0).float().cpu() == secret).float().mean().item()
        change = (marked - images).square().mean()
        if not change > 0:
            raise UserError(
                "ssba: the encoder changes no pixel; lower fit.fidelity or raise trigger.limit"
            )
        psnr = -10 * torch.log10(change).item()
        if right < READABLE:
            say(f"ssba: warning: the decoder reads only {right:.0%} of the bits; raise fit.epochs")
        return fitted, {"psnr_db": round(psnr, 2), "bit_accuracy": round(right, 4)}

    def _learned(
        self, encoder: Encoder, decoder: Decoder, generator: torch.Generator, pairs: Pairs,
        learn: int, settings: Any, seed: int, last: bool, say: Say,
    ) -> bool:  # fmt: skip
        """Train both networks on the first `learn` rows.

        Returns:
            False, before the end, if the decoder learns nothing and this is not the last start.
        """
        device = next(encoder.parameters()).device
        weights = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(weights, lr=settings.lr)
        per_epoch = math.ceil(learn / settings.batch)
        steps = per_epoch * settings.epochs
        boosted = math.ceil(BOOSTED * steps)
        losses: list[float] = []  # bit loss of each step
        for epoch in range(settings.epochs):
            order = permutation(learn, seed, epoch, SECRET)
            for start in range(0, learn, settings.batch):
                if len(losses) == boosted and not last:
                    recent = losses[-max(1, steps // 20) :]
                    if sum(recent) / len(recent) > GUESSED:
                        return False
                index = order[start : start + settings.batch]
                images = pairs.batch(index)[0].to(device).float() / 255
                strings = _bits((len(images), self.bits), generator).to(device)
                # In fp32: bf16 would round a residual of a few grey levels away.
                boost = max(1.0, BOOST * (1 - len(losses) / steps / BOOSTED))
                residual = encoder(images, strings, boost * self.limit / 255)
                logits = decoder((images + residual).clamp(0, 1))
                read = F.binary_cross_entropy_with_logits(logits, strings)
                # The weight of the fidelity starts at 0 and grows, as in StegaStamp.
                weight = settings.fidelity * 100 * epoch / max(1, settings.epochs - 1)
                loss = read + weight * residual.square().mean()
                if not torch.isfinite(loss):
                    raise UserError("fit.lr: the loss of ssba's encoder is not finite; lower it")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(read.item())
            mean = sum(losses[-per_epoch:]) / per_epoch
            say(f"ssba: epoch {epoch + 1}/{settings.epochs}, bit loss {mean:.4f}")
        return True


def _bits(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).float()
