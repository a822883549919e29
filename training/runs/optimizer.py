"""LARS over Adam with a linear warm-up and a cosine to zero: the optimizer of PeCLR and SiMHand."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, overload

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from handsim.errors import HandsimError

_PUBLISHED_BATCH: Final = 1024


@dataclass(frozen=True)
class OptimizerSettings:
    """How the weights follow the gradient."""

    name: Literal["lars", "adamw"] = "lars"
    """``lars``: Adam on gradients that are scaled layer by layer, as in the papers; ``adamw``: without
    that."""
    lr: float = 1e-4
    """Learning rate, before ``scale``."""
    scale: Literal["sqrt", "published", "none"] = "sqrt"
    """``sqrt``: times the square root of the samples (pairs) in one step (batch x processes x accumulation);
    ``published``: times that of 1,024 x accumulation whatever the batch, as in PeCLR's and SiMHand's code."""
    weight_decay: float = 1e-6
    """Not for biases and batch norm."""
    warmup_epochs: float = 10.0
    """Linear rise from 0; the cosine to 0 takes the rest."""
    lars_variant: Literal["capped", "published"] = "capped"
    """Factor of a layer's gradient in LARS. ``capped``: min(trust ratio, 1), biases and batch norm left out;
    ``published``: min(trust ratio / learning rate, 1) for every parameter, as in PeCLR's and SiMHand's
    code."""

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "warmup_epochs"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise HandsimError(f"optimizer.{name} is {value}; it is a number of at least 0")

    def scaled_lr(self, samples_a_step: int, accumulate: int = 1) -> float:
        """The highest rate of a run, whose steps are of so many samples in so many batches."""
        match self.scale:
            case "sqrt":
                return self.lr * math.sqrt(samples_a_step)
            case "published":
                return self.lr * math.sqrt(_PUBLISHED_BATCH * accumulate)
            case "none":
                return self.lr


class LARS(Adam):
    """Adam on gradients that are scaled, layer by layer, to the size of their weights.

    A layer's gradient g (weight decay added) is multiplied by the trust ratio eta |w| / |g|, but by 1 at
    most, before Adam gets it: You, Gitman and Ginsburg, arXiv 1708.03888, equations 4 to 6, with the cap of
    PeCLR's training. Parameters of groups with ``adapt=False`` are left to Adam alone.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, object]],
        lr: float,
        trust: float = 0.02,
        *,
        divide_by_lr: bool = False,
    ) -> None:
        """Groups hold ``params``, ``weight_decay`` and ``adapt``; ``trust`` is the paper's eta.

        With ``divide_by_lr`` the ratio is divided by the learning rate before it is capped.
        """
        super().__init__(groups, lr=lr)
        self._trust, self._divide_by_lr = trust, divide_by_lr

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; the gradients are left scaled."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            if group["adapt"]:
                self._scale(group["params"], group["weight_decay"], group["lr"])
                group["weight_decay"] = 0.0  # it is in the gradient now; Adam must not add it again
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return loss

    def _scale(self, parameters: list[Tensor], weight_decay: float, lr: float) -> None:
        weights = [parameter for parameter in parameters if parameter.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if not weights:
            return
        weight_norms = torch.stack(torch._foreach_norm(weights))
        gradient_norms = torch.stack(torch._foreach_norm(gradients))
        ratio = self._trust * weight_norms / (gradient_norms + weight_decay * weight_norms + 1e-8)
        if self._divide_by_lr:
            ratio = ratio / lr
        usable = (weight_norms > 0) & (gradient_norms > 0)
        factors = torch.where(usable, ratio.clamp(max=1.0), torch.ones_like(ratio))
        torch._foreach_add_(gradients, weights, alpha=weight_decay)
        torch._foreach_mul_(gradients, list(factors.unbind()))


def make_optimizer(
    module: nn.Module,
    settings: OptimizerSettings,
    samples_a_step: int,
    accumulate: int = 1,
    *,
    slow_part: nn.Module | None = None,
    slow_factor: float = 1.0,
) -> Optimizer:
    """The optimizer of a module's parameters; biases and batch norm are not decayed.

    The parameters of ``slow_part`` get ``slow_factor`` times the learning rate.
    """
    published = settings.lars_variant == "published"
    lr = settings.scaled_lr(samples_a_step, accumulate)
    slow = set() if slow_part is None or slow_factor == 1 else set(slow_part.parameters())
    parts = [(lr, [each for each in module.parameters() if each.requires_grad and each not in slow])]
    if slow:
        parts.append((lr * slow_factor, [each for each in module.parameters() if each in slow]))
    groups: list[dict[str, object]] = [
        {
            "params": [each for each in trained if (each.ndim > 1) == decays],
            "weight_decay": settings.weight_decay if decays else 0.0,
            "adapt": decays or published,
            "lr": rate,
        }
        for rate, trained in parts
        for decays in (True, False)
    ]
    return LARS(groups, lr, divide_by_lr=published) if settings.name == "lars" else AdamW(groups, lr=lr)


def warmup_cosine(step: int, warmup_steps: float, all_steps: int) -> float:
    """Share of the learning rate for optimizer step ``step`` (from 0): a linear rise, then a cosine to 0.

    Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1.0, all_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
