"""The weighted loss beside a straightforward dense form: `python -m benchmarks.losses --json losses.json`.

Prints JSON: for each number of pairs the seconds of forward and backward with SiMHand's weights on positives
and negatives (the best of several runs), and the peak of resident memory over the inputs (of the first run,
in a process that has run a small batch before: what libraries take for themselves is not counted). Each form
is measured in a process of its own, on the CPU, in float32. The dense form makes all [2N, 2N, 21, 2]
differences at once: at 2,048 pairs it needs some 5 GB.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.measure import in_fresh_process
from benchmarks.memory import memory_gb
from training.losses import Weighting, nt_xent

_TEMPERATURE = 0.5
_WEIGHTING = Weighting("both")
_WIDTH = 128
_WARM_UP_PAIRS = 16
_LONGEST_S = 20.0
"""Runs are repeated for no longer than this."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def ours(z1: Tensor, z2: Tensor, keypoints1: Tensor, keypoints2: Tensor) -> Tensor:
    """By blocks of rows."""
    return nt_xent(
        z1, z2, temperature=_TEMPERATURE, weighting=_WEIGHTING, keypoints1=keypoints1, keypoints2=keypoints2
    )


def dense(z1: Tensor, z2: Tensor, keypoints1: Tensor, keypoints2: Tensor) -> Tensor:
    """As the formula reads."""
    pairs = len(z1)
    z = torch.nn.functional.normalize(torch.cat([z1, z2]))
    keypoints = torch.cat([keypoints1, keypoints2])
    distances = (keypoints[:, None] - keypoints[None]).norm(dim=-1).mean(-1)
    weights = (distances.max() - distances) / (distances.max() - distances.min())
    apart = (keypoints1 - keypoints2).norm(dim=-1).mean(-1)
    positive = ((apart.max() - apart) / (apart.max() - apart.min())).repeat(2)
    logits = (weights * (z @ z.T) / _TEMPERATURE).masked_fill(
        torch.eye(2 * pairs, dtype=torch.bool), -torch.inf
    )
    numerator = positive * (z * z.roll(pairs, 0)).sum(1) / _TEMPERATURE
    mean: Tensor = (logits.logsumexp(1) - numerator).mean()
    return mean


def measure(loss: Loss, pairs: int, rounds: int, threads: int) -> dict[str, Any]:
    """Seconds and memory of forward and backward of one form."""
    torch.set_num_threads(threads)
    run(loss, inputs(_WARM_UP_PAIRS))
    given = inputs(pairs)
    _forget_peak()
    before = memory_gb(os.getpid(), "VmRSS")
    clock, value = run(loss, given)
    over_inputs = memory_gb(os.getpid(), "VmHWM") - before
    clocks = [clock]
    while len(clocks) < rounds and sum(each.seconds for each in clocks) < _LONGEST_S:
        clocks.append(run(loss, given)[0])
    return {
        "seconds": round(min(each.seconds for each in clocks), 3),
        "median_seconds": round(sorted(each.seconds for each in clocks)[len(clocks) // 2], 3),
        "processor_seconds": round(min(each.processor_seconds for each in clocks), 3),
        "runs": len(clocks),
        "megabytes_over_inputs": round(over_inputs * 1e3, 1),
        "loss": round(value, 6),
    }


def run(loss: Loss, given: list[Tensor]) -> tuple[Clock, float]:
    """Forward and backward once."""
    with Clock() as clock:
        z1, z2 = (z.detach().requires_grad_() for z in given[:2])
        value = loss(z1, z2, given[2], given[3])
        torch.autograd.backward(value)
    return clock, value.item()


def inputs(pairs: int) -> list[Tensor]:
    """Two views' projections [N, 128] and keypoints [N, 21, 2] in the unit square."""
    random = torch.Generator().manual_seed(pairs)
    z1, noise = torch.randn(2, pairs, _WIDTH, generator=random)
    keypoints1 = torch.rand(pairs, 21, 2, generator=random)
    keypoints2 = keypoints1 + 0.05 * torch.randn(pairs, 21, 2, generator=random)
    return [z1, z1 + noise, keypoints1, keypoints2]


def _forget_peak() -> None:
    """Have the kernel count the peak of resident memory anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[512, 1024, 2048, 8192])
    parser.add_argument(
        "--dense-up-to", type=int, default=2048, help="pairs that the dense form can still hold"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs, of which the fastest counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    results = []
    for pairs in options.pairs:
        forms: dict[str, Loss] = (
            {"ours": ours} if pairs > options.dense_up_to else {"ours": ours, "dense": dense}
        )
        figures = {
            name: in_fresh_process(measure, form, pairs, options.rounds, options.threads)
            for name, form in forms.items()
        }
        results.append({"pairs": pairs, **figures})
    told = json.dumps({"torch": torch.__version__, "threads": options.threads, "results": results}, indent=1)
    print(told)
    if options.json:
        options.json.write_text(told + "\n")


if __name__ == "__main__":
    main()
