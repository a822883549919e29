"""How good frozen encoders are on photographs of people whose labels are known: `evaluate_encoders`.

Any pool with labels will do; its videos are taken for people. Encoders are compared with simple features of
the same hands, and with each other by paired differences: the same hands, the same draws of people. Several
encoders of one name are seeds of one method.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from handsim.embedding import PoseEmbedding
from handsim.embedding.image import DEFAULT_BATCH, Architecture, Device
from handsim.embedding.image_encoder import extract_hand_features
from handsim.embedding.networks import build_network, check_size, expected_shapes
from handsim.embedding.pca import PrincipalComponents
from handsim.embedding.pose import DEFAULT_COMPONENTS
from handsim.embedding.trunk import Trunk, TrunkWeights, read_trunk
from handsim.errors import HandsimError
from handsim.metrics.bootstrap import PersonSums, bootstrap_interval, sum_by_person
from handsim.metrics.label_probe import (
    LEAST_PEOPLE,
    VOTERS,
    Codes,
    find_nearest,
    probe_linearly,
    vote,
)
from handsim.pool import Pool
from training.models.encoder import read_view_size

Baseline = Literal["pose", "random", "pixels"]
BASELINES: Final[dict[Baseline, str]] = {
    "pose": "pose embedding",
    "random": "random weights",
    "pixels": "raw pixels",
}
"""Rows that every table has, unless they are left out, and what they are called."""
MEASURES: Final = {
    "linear": "linear probe",
    "knn": f"{VOTERS} nearest hands",
    "precision_at_1": "P@1 of an index",
}
INDEX_COMPONENTS: Final = 64
"""Of the PCA of features in an index, as in `handsim embedding fit --encoder`."""
USUAL_SIZE_PX: Final = 224
_PIXELS_SIDE: Final = 16

Features = NDArray[np.floating]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EncoderFile:
    """One encoder to be evaluated."""

    name: str
    """Its row; encoders of one name are seeds of one method."""
    weights: str
    """A checkpoint's path, or the name of an architecture for ImageNet's weights."""


@dataclass(frozen=True)
class EncoderRequest:
    """What to evaluate, and on which hands. Raises HandsimError for values that do not fit together."""

    encoders: tuple[EncoderFile, ...]
    baselines: tuple[Baseline, ...] = tuple(BASELINES)
    reference: str | None = None
    """The row that differences are taken to; None: the first encoder, without one the first baseline."""
    size_px: int | None = None
    """The side that crops are resized to; None: that of the views in training, and `USUAL_SIZE_PX`, as for an
    index, where a file does not say it."""
    sample: int = 10_000
    """Random hands to take where the pool has more."""
    seed: int = 0
    """Of that sample, of the folds and of random weights."""
    device: Device = "auto"

    def __post_init__(self) -> None:
        if len(set(self.encoders)) < len(self.encoders):
            raise HandsimError("an encoder is given twice under one name; give each once")
        if not self.rows:
            raise HandsimError("there is nothing to evaluate; give an --encoder or a --baseline")
        if clash := {each.name for each in self.encoders} & {BASELINES[each] for each in self.baselines}:
            raise HandsimError(f"an encoder is called {min(clash)}, as a baseline is; give it another name")
        seeds = {row: len(files) for row, files in self.groups.items() if len(files) > 1}
        if len(set(seeds.values())) > 1:
            counts = ", ".join(f"{count} of {row}" for row, count in seeds.items())
            raise HandsimError(f"there are {counts}; give as many seeds of each, in the same order, or one")
        if self.reference is not None and self.reference not in self.rows:
            raise HandsimError(f"--reference is {self.reference}; the rows are {', '.join(self.rows)}")
        for name, value, least in (("--sample", self.sample, 1), ("--size", self.size_px or 32, 32)):
            if value < least:
                raise HandsimError(f"{name} is {value}; it is at least {least}")
        if self.seed < 0:
            raise HandsimError(f"--seed is {self.seed}; it is at least 0")

    @property
    def groups(self) -> dict[str, list[EncoderFile]]:
        """The encoders of each name."""
        return {
            name: [each for each in self.encoders if each.name == name]
            for name in dict.fromkeys(each.name for each in self.encoders)
        }

    @property
    def rows(self) -> list[str]:
        return [*self.groups, *(BASELINES[each] for each in self.baselines)]

    @property
    def seeds(self) -> int:
        """How many encoders a method has at most."""
        return max((len(files) for files in self.groups.values()), default=1)


@dataclass(frozen=True, eq=False)
class LabelledHands:
    """The N hands of a pool that are evaluated on, and what became of the others."""

    hand_ids: NDArray[np.uint64]
    """[N]."""
    rows: NDArray[np.int64]
    """[N] of the pool."""
    labels: Codes
    """[N] codes."""
    people: list[str]
    """[N] the videos."""
    left_out: Mapping[str, int]
    """Hands by the reason, of those with any."""

    @property
    def label_count(self) -> int:
        return len(np.unique(self.labels))

    @property
    def person_count(self) -> int:
        return len(set(self.people))

    @property
    def chance(self) -> float:
        """The share of the most frequent label."""
        return float(np.unique(self.labels, return_counts=True)[1].max() / len(self.labels))


def select_labelled(pool: Pool, request: EncoderRequest) -> LabelledHands:
    """The hands that can be evaluated on; raises HandsimError where too few labels or people are left."""
    labels, people = pool.labels.codes, pool.videos.codes
    left_out: dict[str, int] = {}
    chosen = np.ones(len(pool), dtype=np.bool_)

    def keep(condition: NDArray[np.bool_], reason: str) -> None:
        if lost := int((chosen & ~condition).sum()):
            left_out[reason] = lost
        chosen[:] &= condition

    keep(labels >= 0, "without a label")
    keep(pool.has_crops, "without a picture")
    keep(pool.has_side, "of unknown side")
    if "pose" in request.baselines:
        keep(pool.is_complete, "with unlabelled joints, which have no pose")
    pairs = np.unique(np.stack([labels[chosen], people[chosen]]), axis=1)
    shared = [
        label for label, count in zip(*np.unique(pairs[0], return_counts=True), strict=True) if count > 1
    ]
    keep(np.isin(labels, shared), "whose label only one person has")
    rows = np.flatnonzero(chosen)
    if len(rows) > request.sample:
        left_out["beyond the sample"] = len(rows) - request.sample
        rows = np.sort(np.random.default_rng(request.seed).choice(rows, request.sample, replace=False))
    hands = LabelledHands(
        pool.hand_ids[rows], rows, labels[rows], [str(name) for name in pool.videos.values(rows)], left_out
    )
    _check_enough(hands, pool)
    return hands


def _check_enough(hands: LabelledHands, pool: Pool) -> None:
    reasons = "; ".join(f"{count:,} hands {reason}" for reason, count in hands.left_out.items())
    aside = f" ({reasons}, of {len(pool):,})" if reasons else ""
    if not len(hands.rows):
        raise HandsimError(
            f"no hand of {pool.path} can be evaluated on{aside}; ingest with --label-from and "
            f"--video-from, labels that several people show"
        )
    if hands.person_count < LEAST_PEOPLE:
        raise HandsimError(
            f"the labelled hands of {pool.path} are of {hands.person_count} people or videos{aside}; those "
            f"of one are predicted from others, which takes {LEAST_PEOPLE}: ingest more, or name them with "
            f"--video-from"
        )
    if hands.label_count < 2:
        raise HandsimError(f"all hands that are left have the same label{aside}; there is nothing to predict")


@dataclass(frozen=True)
class Score:
    """An accuracy: the mean over seeds, and the same as a difference to the reference."""

    mean: float
    seeds: tuple[float, ...]
    interval: tuple[float, float] | None
    difference: float | None = None
    """None of the reference itself."""
    difference_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class EncoderReport:
    """What `evaluate_encoders` measured; `dataclasses.asdict` of it is JSON."""

    hands: int
    labels: int
    people: int
    left_out: dict[str, int]
    """Hands that play no part, by the reason."""
    chance: float
    """The share of the most frequent label: the accuracy of always predicting that one."""
    reference: str
    scores: dict[str, dict[str, Score]]
    """By row and by the names of `MEASURES`."""
    encoders: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of each row the networks: file, architecture, side of its pictures, checksum of its weights."""


def evaluate_encoders(pool: Pool, request: EncoderRequest, progress: Progress | None = None) -> EncoderReport:
    """Measure frozen features of the labelled hands of a pool.

    ``progress`` gets how many networks are done, and of how many. Raises HandsimError for a pool with too few
    labels or people, and as `read_trunk` for files that are no encoders; those are read before any is run.
    """
    hands = select_labelled(pool, request)
    files = {row: [_read(each, request) for each in group] for row, group in request.groups.items()}
    makers: dict[str, list[Callable[[], Features]]] = {
        row: [
            partial(_extract, pool, hands, weights, size_px, request.device) for weights, size_px, _ in group
        ]
        for row, group in files.items()
    }
    architecture, size_px = _like_first(files, request)
    for baseline in request.baselines:
        makers[BASELINES[baseline]] = _baseline(baseline, pool, hands, request, architecture, size_px)
    total, done = sum(map(len, makers.values())), 0
    sums: dict[str, dict[str, list[PersonSums]]] = {}
    for row, group in makers.items():
        sums[row] = {measure: [] for measure in MEASURES}
        for make in group:
            for measure, right in _measure(make(), hands, request.seed).items():
                sums[row][measure].append(sum_by_person(right, hands.people))
            done += 1
            if progress is not None:
                progress(done, total)
    reference = request.reference or request.rows[0]
    return EncoderReport(
        hands=len(hands.rows),
        labels=hands.label_count,
        people=hands.person_count,
        left_out=dict(hands.left_out),
        chance=hands.chance,
        reference=reference,
        scores={
            row: {
                measure: _score(runs, None if row == reference else sums[reference][measure])
                for measure, runs in measures.items()
            }
            for row, measures in sums.items()
        },
        encoders={row: [record for *_, record in group] for row, group in files.items()},
    )


def _read(file: EncoderFile, request: EncoderRequest) -> tuple[TrunkWeights, int, dict[str, Any]]:
    """An encoder's weights, the side of its pictures, and what the report says of it."""
    weights = read_trunk(file.weights)
    path = Path(file.weights)
    size_px = request.size_px or (read_view_size(path) if path.is_file() else None) or USUAL_SIZE_PX
    check_size(weights.architecture, size_px, "--size")
    record = {
        "file": file.weights,
        "architecture": weights.architecture,
        "size_px": size_px,
        "sha256": weights.sha256,
    }
    return weights, size_px, record


def _like_first(
    files: Mapping[str, Sequence[tuple[TrunkWeights, int, dict[str, Any]]]], request: EncoderRequest
) -> tuple[Architecture, int]:
    """Architecture and side of the first encoder, which the one with random weights has, too."""
    for group in files.values():
        weights, size_px, _ = group[0]
        return weights.architecture, size_px
    return "resnet18", request.size_px or USUAL_SIZE_PX


def _extract(
    pool: Pool, hands: LabelledHands, weights: TrunkWeights, size_px: int, device: Device
) -> Features:
    trunk = Trunk(weights, size_px, device)
    [features] = extract_hand_features(pool, [hands.hand_ids], trunk, DEFAULT_BATCH)
    return features


def _baseline(
    baseline: Baseline,
    pool: Pool,
    hands: LabelledHands,
    request: EncoderRequest,
    architecture: Architecture,
    size_px: int,
) -> list[Callable[[], Features]]:
    if baseline == "pose":
        return [partial(_poses, pool, hands)]
    if baseline == "pixels":
        return [partial(_pixels, pool, hands)]

    def extract(seed: int) -> Features:
        return _extract(pool, hands, _random_weights(architecture, seed), size_px, request.device)

    return [partial(extract, request.seed + number) for number in range(request.seeds)]


def _poses(pool: Pool, hands: LabelledHands) -> Features:
    """Vectors [N, 14] of the pose embedding with its default settings; fewer of a pool with fewer hands."""
    components = min(DEFAULT_COMPONENTS, int(pool.is_usable.sum()) - 1)
    return PoseEmbedding.fit(pool, components).embed_hands(pool, hands.rows)


def _pixels(pool: Pool, hands: LabelledHands) -> Features:
    """Crops as [N, 768]: 16 x 16 pixels of RGB."""
    crops = (Image.fromarray(pool.crop(hand_id)) for hand_id in hands.hand_ids.tolist())
    small = [crop.resize((_PIXELS_SIDE, _PIXELS_SIDE), Image.Resampling.BOX) for crop in crops]
    return np.stack(list(map(np.asarray, small))).reshape(len(small), -1).astype(np.float32)


def _random_weights(architecture: Architecture, seed: int) -> TrunkWeights:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build_network(architecture).state_dict()
    tensors = {name: state[name].numpy().astype(np.float32) for name in expected_shapes(architecture)}
    return TrunkWeights(BASELINES["random"], architecture, tensors)


def _measure(features: Features, hands: LabelledHands, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Of each measure, which hands [N] are predicted right."""
    labels = hands.labels
    people = np.unique(np.array(hands.people), return_inverse=True)[1]
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    nearest = find_nearest(directions, people, VOTERS)
    in_index = find_nearest(_index_vectors(features), people, 1)
    return {
        "linear": probe_linearly(features, labels, people, seed) == labels,
        "knn": vote(labels, nearest) == labels,
        "precision_at_1": vote(labels, in_index) == labels,
    }


def _index_vectors(features: Features) -> Features:
    """What an index would hold: the first components, of all of them where there are no more."""
    components = min(INDEX_COMPONENTS, features.shape[1], len(features) - 1)
    pca = PrincipalComponents.fit([features], components)
    vectors: Features = (features.astype(np.float64) - pca.mean) @ pca.components.T
    return vectors


def _score(runs: list[PersonSums], reference: list[PersonSums] | None) -> Score:
    seeds = tuple(run.mean for run in runs)
    mean = float(np.mean(seeds))
    score = Score(mean, seeds, bootstrap_interval(runs))
    if reference is None:
        return score
    # What has one seed, as the pose embedding, is compared with every seed of the other.
    count = max(len(runs), len(reference))
    first, second = (group * count if len(group) == 1 else group for group in (runs, reference))
    difference = mean - float(np.mean([run.mean for run in reference]))
    return Score(mean, seeds, score.interval, difference, bootstrap_interval(first, second))
