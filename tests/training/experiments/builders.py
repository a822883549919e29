"""A small experiment as the content of its file, and the runs and steps that it expands to."""

from typing import Any

from training.experiments.config import EXPERIMENTS, Experiment
from training.experiments.plan import Run, expand, merge_settings
from training.experiments.steps import Kind, Step, in_order

Content = dict[str, Any]

LOG = {"metrics_every_steps": 1, "figures_every_steps": 0, "tensorboard": False, "checkpoint_every_steps": 10}
CONTENT: Content = {
    "title": "Small",
    "data": {
        "pools": {"wild": {"world": "in_the_wild", "settings": {"videos": 4, "size_px": 64}}},
        "datasets": {"studio": {"world": "studio", "settings": {"videos": 12, "size_px": 64}}},
    },
    "base": {
        "pretrain": {
            "encoder": {"architecture": "resnet18"},
            "trainer": {"epochs": 1, "batch_size": 8, "precision": "32-true", "accelerator": "cpu"},
            "log": LOG,
        },
        "finetune": {"trainer": {"epochs": 1, "batch_size": 8}, "log": LOG},
    },
    "start": {"recipe": "simclr"},
    "axes": {
        "methods": {
            "scratch": {},
            "start": {"init": "start"},
            "peclr": {"recipe": "peclr", "init": "start"},
            "simhand": {"recipe": "simhand", "init": "start"},
        },
        "seeds": [1, 2],
    },
}
"""Never run; few methods, because resolving the recipe of each takes a while."""

SHORT: Content = {
    **CONTENT,
    "axes": {
        "methods": {name: CONTENT["axes"]["methods"][name] for name in ("scratch", "simhand")},
        "seeds": [1],
    },
}
"""Every kind of step, once."""


def changed(*changes: Content) -> Content:
    """`CONTENT` with changes, key by key."""
    return merge_settings(CONTENT, *changes)


def nested(dotted: str, value: Any) -> Content:
    """``{"a": {"b": value}}`` of ``a.b``."""
    *groups, name = dotted.split(".")
    content = {name: value}
    for group in reversed(groups):
        content = {group: content}
    return content


def experiment_of(content: Content) -> Experiment:
    return EXPERIMENTS.fill(content, [], "small.yaml")


def runs_of(content: Content) -> list[Run]:
    return expand(experiment_of(content))


def steps_of(content: Content) -> list[Step]:
    """All steps, each once, inputs first."""
    return in_order(run.evaluation for run in runs_of(content))


def keys_of(content: Content) -> dict[Kind, set[str]]:
    """The keys of all steps by their kind."""
    keys: dict[Kind, set[str]] = {}
    for step in steps_of(content):
        keys.setdefault(step.kind, set()).add(step.key)
    return keys


def pool_step(videos: int = 3, seed: int = 0, size_px: int = 64, hands_per_video: int = 2) -> Step:
    """A synthetic pool, small enough to be made in a test."""
    world = {"videos": videos, "hands_per_video": hands_per_video, "size_px": size_px, "seed": seed}
    description = f"of {videos} videos, number {seed}"
    return Step("pool", description, {"world": world, "keypoint_noise": 0.0}, recipe=world)
