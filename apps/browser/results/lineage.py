"""What a run comes from, all the way back, but for the seeds: runs that differ by those alone are equal."""

import json
from collections.abc import Mapping
from typing import Any, Final

from apps.browser.file_memory import FileMemory
from apps.browser.results.pose_report import PoseReport
from apps.browser.runs.places import RunPlace, Tail, owner_of
from apps.browser.runs.record import FACTS

_DEEPEST: Final = 8
_NOT_WHAT_IS_LEARNED: Final = ("log", "seed")
_OF_THE_SEED: Final = (
    *("seed", "trained_on", "hands", "val_hands", "mean_bone_mm", "batches_done"),
    *("torch", "lightning"),
)

Objects = FileMemory[dict[str, Any]]


def lineage(place: RunPlace, tails: Mapping[Tail, RunPlace], objects: Objects, depth: int = 0) -> Any:
    """A run's settings without its seed, and in the place of ``encoder.init`` those of where it comes from.

    Plain values; of a run without readable facts the end of its path.
    """
    config = (objects(place.path / FACTS) or {}).get("config")
    if not isinstance(config, dict) or depth > _DEEPEST:
        return list(place.tail)
    kept = {name: value for name, value in config.items() if name not in _NOT_WHAT_IS_LEARNED}
    encoder = kept.get("encoder")
    if isinstance(encoder, dict):
        kept["encoder"] = {**encoder, "init": _origin(encoder.get("init"), tails, objects, depth)}
    return kept


def _origin(init: object, tails: Mapping[Tail, RunPlace], objects: Objects, depth: int) -> Any:
    owner = owner_of(str(init), tails)
    return init if owner is None else lineage(owner, tails, objects, depth + 1)


def same_but_seed(report: PoseReport, tails: Mapping[Tail, RunPlace], objects: Objects) -> str:
    """Equal for evaluations on one split whose estimators differ by their seeds alone."""
    checkpoint = str(report.facts.get("checkpoint"))
    owner = owner_of(checkpoint, tails)
    if owner is not None:
        come_from = lineage(owner, tails, objects)
    else:
        training = {name: value for name, value in report.training.items() if name not in _OF_THE_SEED}
        come_from = [training, checkpoint if not training else None]
    which = checkpoint.rsplit("/", 1)[-1]
    return json.dumps([report.dataset, report.split, which, come_from], sort_keys=True, default=str)
