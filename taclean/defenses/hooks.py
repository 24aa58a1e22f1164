"""Call the methods that a defence may define, and say in one line what one of them does wrong."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taclean.clip import CLIP
from taclean.data.split import Pairs
from taclean.defenses import Defense
from taclean.training.distributed import error_of_all, rank
from taclean.training.loader import Batch
from taclean.util.errors import UserError
from taclean.util.fingerprint import fingerprint
from taclean.util.progress import say


def prepared(objective: Defense, model: CLIP, pairs: Pairs, prompts: Tensor | None) -> None:
    """Call `prepare`; a UserError says that it changes the model or keeps what it may not."""
    if getattr(objective.prepare, "__func__", None) is Defense.prepare:
        return  # without hashes of a large model
    before, marks = fingerprint(model.state_dict()), _marks(model)
    _called(objective, "prepare", model.parameters, model, pairs, prompts)
    fault = _fault_of_kept(objective.kept)
    if _marks(model) != marks:
        fault = "it leaves hooks or freezes weights; remove hooks, and freeze weights by learns"
    owned = {value.untyped_storage()._cdata for value in model.state_dict().values()}
    kept = [vars(objective), getattr(objective, "__pydantic_private__", None)]
    if not fault and _holds(kept, model, owned):
        fault = "it keeps the model or its weights, which go on to learn; keep copy.deepcopy(model)"
        fault += " or clones of weights, or their names"
    if fingerprint(model.state_dict()) != before:
        fault = "it changes the model; change a copy of it, or the weights in finish"
    if fault:
        raise error_of_all(f"{type(objective).__name__}.prepare: {fault}")


def _holds(value: Any, model: CLIP, owned: set[int]) -> bool:
    """Return whether a value is the model, or holds it or memory that it owns."""
    if isinstance(value, Tensor):
        return value.untyped_storage()._cdata in owned
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple | set):
        return any(_holds(one, model, owned) for one in value)
    return value is model


def _marks(model: CLIP) -> tuple[int, list[bool]]:
    """Return how many hooks a model has, and which of its weights may learn."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = sum(len(getattr(part, kind)) for part in model.modules() for kind in kinds)
    return hooks, [weight.requires_grad for weight in model.parameters()]


def _called(
    objective: Defense, method: str, weights: Callable[[], Iterable[nn.Parameter]], *given: Any
) -> Any:
    """Call a method; a UserError says that it ends Python, or moves or converts the weights."""

    def form() -> set[Any]:
        return {(weight.dtype, weight.device) for weight in weights()}

    before, fault, found = form(), "", None
    try:
        found = getattr(objective, method)(*given)
    except SystemExit:
        fault = "it ends Python; leave sys.exit out"
    except UserError as error:  # such as that of encode_images, which does not know who called it
        raise type(error)(f"{type(objective).__name__}.{method}: {error}") from None
    except Exception:
        if form() == before:
            raise
    if form() != before:
        fault = "it moves the model or changes its type, as by half(); do that to a copy"
    if fault:
        raise error_of_all(f"{type(objective).__name__}.{method}: {fault}")
    return found


def learning(objective: Defense, model: CLIP) -> set[nn.Parameter]:
    """Return the weights that learn; a UserError says that `learns` gives none of the model's."""
    given = _called(objective, "learns", model.parameters, model)
    return _weights(objective, "learns", given, model, least=1)


def resting(objective: Defense, model: CLIP, epoch: int) -> set[nn.Parameter]:
    """Return the weights that stand still; a UserError says that `rests` gives other things."""
    given = _called(objective, "rests", tuple, model, epoch)
    return _weights(objective, "rests", given, model, least=0)


def _weights(
    objective: Defense, method: str, given: Any, model: CLIP, least: int
) -> set[nn.Parameter]:
    found: list[Any] = [None]
    if isinstance(given, Iterable) and not isinstance(given, Tensor):
        found = [*given]
    if len(found) < least or not all(isinstance(weight, nn.Parameter) for weight in found):
        text = "gives no weights; give a list of some of model.parameters(), not of lists"
        text += " (to train none, let pace return 0)" * least
    elif found and not {*found} <= {*model.parameters()}:  # rests is asked in each step
        text = "gives others than the model's weights; give some of model.parameters()"
    else:
        return {*found}
    raise error_of_all(f"{type(objective).__name__}.{method}: {text}")


def share_of(objective: Defense, epoch: int) -> float:
    """Return the epoch's share of the learning rate; a UserError says that `pace` gives none."""
    share = _called(objective, "pace", tuple, epoch)
    if not isinstance(share, int | float) or not 0 <= share < math.inf:
        text = f"gives {share!r} in epoch {epoch}; give a number of at least 0"
        raise error_of_all(f"{type(objective).__name__}.pace: {text}")
    return share


def loss_of(
    objective: Defense, model: CLIP, batch: Batch, weights: Sequence[nn.Parameter]
) -> dict[str, Tensor]:
    """Return a defence's loss of a batch; a UserError says what `loss` did wrong.

    `weights` are the model's, which take a millisecond to collect, too long for each step.
    """
    failed = objective.failed
    parts = _called(objective, "loss", lambda: weights, model, batch)
    late = "kept['failed'] is set in the training; set it in prepare"
    fault = late if objective.failed != failed else _fault(parts) or _fault_of_kept(objective.kept)
    if any(weight.grad is not None for weight in weights):
        fault = "it leaves gradients on the weights; return the loss, the training calls backward"
    if fault:
        raise error_of_all(f"{type(objective).__name__}.loss: {fault}")
    return parts


def finished(objective: Defense, model: CLIP) -> None:
    """Call `finish`; a UserError or a line says that it does not change the weights in place."""
    if getattr(objective.finish, "__func__", None) is Defense.finish:
        return  # without hashes of a large model
    failed, names = objective.failed, model.state_dict().keys()
    before = fingerprint(model.state_dict())
    returned, fault = _called(objective, "finish", model.parameters, model), ""
    if returned is not None:
        fault = f"it returns {type(returned).__name__}; change the weights in place"
    elif model.state_dict().keys() != names:
        fault = "it changes the names of weights; leave them, for example by prune.remove"
    elif objective.failed != failed:
        fault = "kept['failed'] is set after the training; set it in prepare"
    elif rank() == 0 and fingerprint(model.state_dict()) == before:
        text = "it changes no weight; to change one, do so in place, as by weight.copy_(new)"
        say(f"{type(objective).__name__}.finish: {text}")
    if fault:
        raise error_of_all(f"{type(objective).__name__}.finish: {fault}")


def _fault(parts: Any) -> str:
    """Say what is wrong with the parts of a loss; "" if nothing is."""
    if not isinstance(parts, Mapping) or "total" not in parts:
        had = f"keys {[*parts]}" if isinstance(parts, Mapping) else type(parts).__name__
        return f"it returns {had}; return a dict of tensors with 'total', which is minimised"
    for name, part in parts.items():
        if not isinstance(part, Tensor) or part.numel() != 1:
            had = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            return f"{name!r} is of {had}; give a tensor of one number"
    if not parts["total"].requires_grad:
        return "'total' has no gradient; compute it from weights that learn, without detach"
    return ""


def _fault_of_kept(kept: Mapping[str, Any]) -> str:
    """Say what is wrong with what a defence keeps; "" if nothing is."""

    def storable(value: Any) -> bool:  # and read again as it was, by torch.load's weights_only
        if type(value) in (dict, list, tuple):
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            return all(map(storable, inner))
        if isinstance(value, Tensor):  # a weight of the model would be another after a resume
            return not isinstance(value, nn.Parameter)
        return type(value) in (bool, float, int, str, type(None))

    failed = kept.get("failed", "")
    if not isinstance(failed, str) or not failed.isprintable():
        return f"kept['failed'] is {failed!r}; give the reason as a line of text"
    for name, value in kept.items():
        if not storable(value):
            text = "keep tensors (of weights, clones), numbers and texts, in plain dicts and lists"
            return f"kept[{name!r}] is of {type(value).__name__}; {text}"
    return ""
