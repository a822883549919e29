"""The steps that an experiment's runs are made of, and how equal ones are told."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

Kind = Literal["pool", "index", "dataset", "pretrain", "finetune", "evaluate"]
FORMAT: Final = 1
"""Raised when a step comes to mean something else; all are then done anew."""


@dataclass(frozen=True, eq=False)
class Step:
    """One thing to do, once, whoever needs it."""

    kind: Kind
    """What is done."""
    what: str
    """For people: what it was first asked for, without the seed. It decides nothing."""
    settings: Mapping[str, Any]
    """All that decides what comes out, beside the inputs, as plain values."""
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    """Steps that come before it, by what they are to it."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What is written for its command: settings as plain values, also those that decide nothing."""
    seed: int | None = None
    """Of a training; it is in the settings, too."""

    @property
    def title(self) -> str:
        """For people."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.kind} {self.what}{seed}"

    @cached_property
    def key(self) -> str:
        """16 hex digits: equal for steps that come to the same."""
        told = {
            "format": FORMAT,
            "kind": self.kind,
            "settings": self.settings,
            "inputs": {role: step.key for role, step in self.inputs.items()},
        }
        text = json.dumps(told, sort_keys=True, allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.kind}-{self.key}"


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps and all that come before them, each once, inputs first."""
    found: dict[str, Step] = {}
    for step in steps:
        for each in _with_inputs(step):
            found.setdefault(each.key, each)
    return list(found.values())


def _with_inputs(step: Step) -> Iterator[Step]:
    for before in step.inputs.values():
        yield from _with_inputs(before)
    yield step
