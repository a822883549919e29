"""LARS over Adam with a linear warm-up and a cosine to zero: how PeCLR and SiMHand step.

What the recipes of all kinds of training have in common, as frozen dataclasses.

How long a run is.

Seeds for streams of random numbers that have nothing to do with each other.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from handsim.errors import HandsimError
from handsim.hashing import GOLDEN_GAMMA, mix64


@dataclass(frozen=True)
class OptimizerSettings:
    """How the weights follow the gradient."""

    name: Literal["lars", "adamw"] = "lars"
    """``lars``: Adam on gradients scaled layer by layer, as the papers train; ``adamw``: without that."""
    lr: float = 1e-4
    """Learning rate, before ``scale``."""
    scale: Literal["sqrt", "none"] = "sqrt"
    """``sqrt``: times the square root of the samples (pairs) behind one step (batch x processes x
    accumulation)."""
    weight_decay: float = 1e-6
    """Not for biases and batch norm."""
    warmup_epochs: float = 10.0
    """Linear rise from 0; the cosine to 0 takes the rest."""

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "warmup_epochs"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise HandsimError(f"optimizer.{name} is {value}; it is a number of at least 0")

    def scaled_lr(self, samples_a_step: int) -> float:
        """The learning rate at the end of the warm-up."""
        return self.lr * (math.sqrt(samples_a_step) if self.scale == "sqrt" else 1.0)


class LARS(Adam):
    """Adam on gradients that were scaled, layer by layer, to the size of their weights.

    A layer's gradient g (weight decay added) is multiplied by trust |w| / |g|, but by 1 at most, before Adam
    sees it: You, Gitman and Ginsburg, arXiv 1708.03888, equations 4 to 6, with the cap that the training of
    PeCLR and SiMHand has. Parameters of groups with ``adapt=False`` (biases, batch norm) are Adam's alone.
    """

    def __init__(self, groups: Iterable[dict[str, object]], lr: float, trust: float = 0.02) -> None:
        """Groups hold ``params``, ``weight_decay`` and ``adapt``; ``trust`` is the paper's eta."""
        super().__init__(groups, lr=lr)
        self._trust = trust

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
                self._scale(group["params"], group["weight_decay"])
            group["weight_decay"] = 0.0  # it is in the gradient now; Adam must not add it again
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return loss

    def _scale(self, parameters: list[Tensor], weight_decay: float) -> None:
        weights = [parameter for parameter in parameters if parameter.grad is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if not weights:
            return
        weight_norms = torch.stack(torch._foreach_norm(weights))
        gradient_norms = torch.stack(torch._foreach_norm(gradients))
        ratio = self._trust * weight_norms / (gradient_norms + weight_decay * weight_norms + 1e-8)
        usable = (weight_norms > 0) & (gradient_norms > 0)
        factors = torch.where(usable, ratio.clamp(max=1.0), torch.ones_like(ratio))
        torch._foreach_add_(gradients, weights, alpha=weight_decay)
        torch._foreach_mul_(gradients, list(factors.unbind()))


def make_optimizer(module: nn.Module, settings: OptimizerSettings, samples_a_step: int) -> Optimizer:
    """The optimizer of a module's parameters: weight decay and scaling for all but biases and batch norm."""
    decayed = [
        parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim > 1
    ]
    others = [
        parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim <= 1
    ]
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": settings.weight_decay, "adapt": True},
        {"params": others, "weight_decay": 0.0, "adapt": False},
    ]
    lr = settings.scaled_lr(samples_a_step)
    return LARS(groups, lr) if settings.name == "lars" else AdamW(groups, lr=lr)


def warmup_cosine(step: int, warmup_steps: float, all_steps: int) -> float:
    """Share of the learning rate for optimizer step ``step`` (from 0): a linear rise, then a cosine to 0.

    Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1.0, all_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainerSettings:
    """How long, on what, and in what portions."""

    epochs: int = 100
    """How often every sample (in pre-training: every anchor) is seen."""
    batch_size: int = 1024
    """Samples (in pre-training: pairs) in each process's batch."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step; pairs have their negatives in one batch."""
    precision: Precision = "bf16-mixed"
    """``32-true`` for results that are equal to the bit on a CPU."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto``: GPUs where there are any."""
    devices: int | Literal["auto"] = "auto"
    """Processes on this machine, each with a GPU of its own (on a CPU: ``auto`` is one)."""
    nodes: int = 1
    """Machines; `torchrun` or the cluster's scheduler starts a process for each device."""
    workers: int = 8
    """Processes that decode pictures, for each training process; 0 decodes on threads."""
    sync_batch_norm: bool = True
    """With several GPUs, take batch norm's statistics over all of them."""
    max_steps: int | None = None
    """Stop after so many optimizer steps; the learning rate is cut there, not squeezed."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "nodes"):
            check_at_least(f"trainer.{name}", getattr(self, name), 1)
        check_at_least("trainer.workers", self.workers, 0)
        if self.devices != "auto":
            check_at_least("trainer.devices", self.devices, 1)
        if self.max_steps is not None:
            check_at_least("trainer.max_steps", self.max_steps, 1)


@dataclass(frozen=True)
class LogSettings:
    """What is written while it trains, counted in optimizer steps."""

    metrics_every_steps: int = 20
    """A line of numbers: loss, rate, shares of time spent waiting."""
    figures_every_steps: int = 1000
    """A picture of what it trains on; 0 draws none."""
    checkpoint_every_steps: int = 1000
    """How much a killed run loses at most. Each epoch's end keeps one, too."""
    tensorboard: bool = True
    """Write the same numbers and pictures for TensorBoard."""

    def __post_init__(self) -> None:
        check_at_least("log.metrics_every_steps", self.metrics_every_steps, 1)
        check_at_least("log.figures_every_steps", self.figures_every_steps, 0)
        check_at_least("log.checkpoint_every_steps", self.checkpoint_every_steps, 1)


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises HandsimError for a setting below its bound."""
    if value < least:
        raise HandsimError(f"{name} is {value}; it is at least {least}")


@dataclass(frozen=True)
class Schedule:
    """How long a run is, in batches and in optimizer steps."""

    batches_an_epoch: int
    """Batches of each process in which every sample is seen once."""
    batches: int
    """In the whole run."""
    full_batches: int
    """In all its epochs: what the learning rate is laid out for, even where a run is cut short."""
    samples_a_step: int
    """Samples (in pre-training: pairs) behind one optimizer step, over all processes and accumulation."""
    accumulate: int
    """Batches behind one optimizer step."""

    @classmethod
    def of(cls, settings: TrainerSettings, batches_an_epoch: int, processes: int) -> "Schedule":
        """What the settings come to where an epoch has so many batches for each of ``processes``."""
        full = settings.epochs * batches_an_epoch
        cut = full if settings.max_steps is None else settings.max_steps * settings.accumulate
        return cls(
            batches_an_epoch=batches_an_epoch,
            batches=min(full, cut),
            full_batches=full,
            samples_a_step=settings.batch_size * processes * settings.accumulate,
            accumulate=settings.accumulate,
        )

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run; batches left over at its end make one, too."""
        return -(-self.batches // self.accumulate)

    @property
    def full_steps(self) -> int:
        """Optimizer steps in all its epochs."""
        return -(-self.full_batches // self.accumulate)

    def ends_step(self, done: int) -> bool:
        """Whether an optimizer step is over with batch ``done`` (counted from 1)."""
        return done % self.accumulate == 0 or done >= self.batches

    def ends_epoch(self, done: int, every: int = 1) -> bool:
        """Whether an epoch, or ``every`` of them, is over with the step that batch ``done`` ends.

        An epoch that ends within a step is over with that step.
        """
        before = max(0, done - self.accumulate)
        return done // (every * self.batches_an_epoch) > before // (every * self.batches_an_epoch)


def derived_seed(*numbers: int) -> int:
    """63 bits that any of the numbers changes wholly; the same ones on every machine."""
    state = 0
    for number in numbers:
        state = mix64((state ^ (number + GOLDEN_GAMMA)) & 0xFFFFFFFFFFFFFFFF)
    return state >> 1
