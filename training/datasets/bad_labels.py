"""Which labels of a dataset stand out from the others: each is named, with the reasons.

The rules of `training.datasets.sanity` judge a dataset as a whole; here every hand is compared with the rest
of its set, from the labels alone. A quantity stands out where it is more than `LIMIT` robust deviations
(1.4826 times the median distance from the median) from the median; no deviation is taken to be smaller than a
floor, so that the rounding of exact labels names nobody.

- **projection**: how far the farthest 3D joint, projected by K, falls from its 2D joint, in sides of the
  hand's box.
- **place**: where the box lies in its image. It says something in sets of crops, where hands are in the
  middle; where they are anywhere, the spread is wide and nothing stands out.
- **lengths**: bones and widths of the palm, which no pose changes, and the size of the hand; relative to the
  same person's other hands where there are enough of them, else to all. Joints or fingers that are exchanged
  give wrong lengths, too, and the exchange that rights them is named.
- **side**: fingers bend to the palm. How clearly is measured by a direction fitted to the set: the one that
  tells its hands from their mirror images.
- **outside**: fewer than a quarter of the joints lie in the image (`MOSTLY_INSIDE`), or the camera is too
  near or far. The only fixed bounds.

What labels alone cannot show: a hand that was moved in 3D where the 2D joints are projections of the 3D ones,
and the labels of another image. For these the image has to be looked at (`training.datasets.second_look`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import box_around
from handsim.hand import Side
from handsim.skeleton import FINGER_JOINTS, FINGERS, JOINT_NAMES, WRIST
from handsim.synthetic.camera import project
from training.datasets.record import HandLabel, joints_inside, lies_in_picture
from training.datasets.sanity import FARTHEST_MM, NEAREST_MM, PALM_AND_BONES, SUSPECTS

Floats = NDArray[np.float64]

LIMIT: Final = 6.0
"""Robust deviations; of normal numbers two in a thousand million lie beyond."""
FEWEST_OF_PERSON: Final = 8
"""Hands of one person to be compared with each other; people with fewer are compared with all."""
FEWEST_HANDS: Final = 20
"""Of a set, to have a spread."""
_MAD_TO_DEVIATION: Final = 1.4826
_PROJECTION_FLOOR: Final = 0.02
_PLACE_FLOOR: Final = 0.02
_LENGTH_FLOOR: Final = 0.035
_SIZE_FLOOR: Final = 0.02
_CLEAR_GAIN: Final = 40.0
"""Sum of squared deviations that an exchange of joints must save; one sound hand in 1,000, with 4 mm of
noise, saves 30."""
_MOST: Final = 2 * LIMIT
_LEAST_RATIO: Final = 1e-6
_LEAST_MM: Final = 1e-3
_CLEARLY_MIRRORED: Final = -0.15
"""Of the median score of a set's hands: a mirrored hand has about -1, one stretched out about 0."""
_RIDGE: Final = 1e-3
_SIDE_IS_CLEAR: Final = 2.5
"""Robust deviations between the median score and 0, so that a set can tell its hands from mirror images."""
_PAIRS: Final = np.array(PALM_AND_BONES)
_LONG_FINGERS: Final = np.array([FINGER_JOINTS[finger] for finger in FINGERS[1:]])
_THUMB: Final = np.array(FINGER_JOINTS["thumb"])


@dataclass(frozen=True)
class BadLabel:
    """A label that stands out."""

    row: int
    """Its place among the labels that were given."""
    reasons: tuple[str, ...]
    """The clearest first; one line each, with what was measured."""
    excess: float
    """How many times its bound the clearest quantity is; 1 is just beyond."""


@dataclass
class _Naming:
    """The reasons found so far, by row."""

    reasons: dict[int, list[tuple[float, str]]] = field(default_factory=dict)

    def add(self, row: int, excess: float, reason: str) -> None:
        self.reasons.setdefault(row, []).append((excess, reason))

    def worst_first(self) -> list[BadLabel]:
        found = []
        for row, reasons in self.reasons.items():
            ordered = sorted(reasons, reverse=True)
            found.append(BadLabel(row, tuple(reason for _, reason in ordered), ordered[0][0]))
        return sorted(found, key=lambda bad: (-bad.excess, bad.row))


def find_bad_labels(labels: Sequence[HandLabel], annotated_px: NDArray[np.floating] | None) -> list[BadLabel]:
    """The labels that stand out, the worst first.

    ``annotated_px`` [N, 21, 2] are the 2D joints of the files, None where those of the labels are projections
    of the 3D ones. Each label needs a valid joint. Fewer than `FEWEST_HANDS` are only checked for fixed
    bounds.
    """
    naming = _Naming()
    _name_outside(naming, labels)
    if len(labels) >= FEWEST_HANDS:
        joints_mm = np.stack([label.joints_3d_mm for label in labels]).astype(np.float64)
        if annotated_px is not None:
            _name_projections(naming, labels, annotated_px)
        _name_places(naming, labels)
        if np.isfinite(joints_mm).any():  # not in 2D alone
            _name_lengths(naming, joints_mm, [label.subject for label in labels])
            _name_sides(naming, joints_mm, [label.side for label in labels])
    return naming.worst_first()


def merge_bad_labels(one: Sequence[BadLabel], other: Sequence[BadLabel]) -> list[BadLabel]:
    """The labels of both, the worst first; one that both name has the reasons of both, the clearer first."""
    merged = {label.row: label for label in one}
    for label in other:
        pair = sorted((merged.get(label.row, label), label), key=lambda each: -each.excess)
        reasons = tuple(dict.fromkeys(reason for each in pair for reason in each.reasons))
        merged[label.row] = BadLabel(label.row, reasons, pair[0].excess)
    return sorted(merged.values(), key=lambda label: (-label.excess, label.row))


def _name_outside(naming: _Naming, labels: Sequence[HandLabel]) -> None:
    for row, label in enumerate(labels):
        if not lies_in_picture(label):
            inside, count = joints_inside(label), int(label.valid.sum())
            share = inside / count
            naming.add(row, 2 - share, f"{count - inside} of {count} joints lie outside of the picture")
        depth = label.joints_3d_mm[label.valid, 2]
        if not np.isfinite(depth).any():
            continue  # in 2D alone
        if depth.min() < NEAREST_MM or depth.max() > FARTHEST_MM:
            far = float(depth.min() if depth.min() < NEAREST_MM else depth.max())
            naming.add(row, 2.0, f"a joint is {far:.0f} mm from the camera")


def _name_projections(
    naming: _Naming, labels: Sequence[HandLabel], annotated_px: NDArray[np.floating]
) -> None:
    projected = np.stack(
        [project(label.joints_3d_mm.astype(np.float64), label.intrinsics) for label in labels]
    )
    apart = np.linalg.norm(projected - annotated_px, axis=-1)
    measured = np.isfinite(apart).any(axis=1)
    sides = np.full(len(labels), np.nan)
    for row in np.flatnonzero(measured).tolist():
        box = box_around(annotated_px[row][np.isfinite(annotated_px[row]).all(axis=1)])
        sides[row] = max(float((box[2:] - box[:2]).max()), 1.0)
    farthest = np.full(len(labels), np.nan)
    farthest[measured] = np.nanmax(apart[measured], axis=1) / sides[measured]
    z = deviations(farthest, _PROJECTION_FLOOR)
    for row in np.flatnonzero(z > LIMIT).tolist():
        joint = int(np.nanargmax(apart[row]))
        moved = float(np.nanmedian(apart[row]))
        what = f"the 3D {JOINT_NAMES[joint]} falls {apart[row, joint]:.0f} px from the 2D one"
        if moved > 0.5 * apart[row, joint]:
            what = f"the 3D joints fall {moved:.0f} px from the 2D ones"
        naming.add(row, float(z[row]) / LIMIT, what)


def _name_places(naming: _Naming, labels: Sequence[HandLabel]) -> None:
    """By the middle of the box of the 2D joints, in sizes of the image from its middle."""
    places = np.empty((len(labels), 2))
    for row, label in enumerate(labels):
        box = box_around(label.keypoints_2d_px[label.valid])
        places[row] = (box[:2] + box[2:]) / 2 / label.size_px - 0.5
    z = np.abs(np.stack([deviations(axis, _PLACE_FLOOR) for axis in places.T], axis=1))
    for row in np.flatnonzero(z.max(axis=1) > LIMIT).tolist():
        x, y = places[row]
        what = f"the hand is {x:+.0%} and {y:+.0%} of the picture from its middle, unlike the others"
        naming.add(row, float(z[row].max()) / LIMIT, what)


def deviations(values: Floats, floor: float, among: Floats | None = None) -> Floats:
    """Robust deviations [N] of values [N] from their median, or that of others; 0 where NaN."""
    known, among = np.isfinite(values), values if among is None else among
    among = among[np.isfinite(among)]
    if not len(among):
        return np.zeros(len(values))
    median = np.median(among)
    spread = _MAD_TO_DEVIATION * np.median(np.abs(among - median))
    return np.where(known, (values - median) / max(spread, floor), 0.0)


def _name_lengths(naming: _Naming, joints_mm: Floats, subjects: Sequence[str]) -> None:
    lengths = _lengths(joints_mm)
    model = _LengthModel.fit(lengths, subjects)
    sizes, z = model.sizes(lengths), model.deviations(lengths)
    size_z = np.where(model.of_person, deviations(sizes, _SIZE_FLOOR), 0.0)
    for row in np.flatnonzero(np.abs(size_z) > LIMIT).tolist():
        what = f"the hand is {sizes[row]:.2f} times as large as this person's other hands"
        naming.add(row, float(abs(size_z[row])) / LIMIT, what)
    exchanges = _find_exchanges(joints_mm, z, model)
    for row, (gain, what) in exchanges.items():
        naming.add(row, gain / _CLEAR_GAIN, what)
    for row in np.flatnonzero(np.abs(z).max(axis=1) > LIMIT).tolist():
        if row not in exchanges:
            naming.add(row, float(np.abs(z[row]).max()) / LIMIT, model.describe(row, z[row], lengths[row]))


def _lengths(joints_mm: Floats) -> Floats:
    """Distances [N, pairs] between the joints of `_PAIRS`; NaN where one is not valid."""
    apart: Floats = np.linalg.norm(joints_mm[:, _PAIRS[:, 0]] - joints_mm[:, _PAIRS[:, 1]], axis=-1)
    return apart


@dataclass(frozen=True, eq=False)
class _LengthModel:
    """What is usual of each hand's lengths: of its person, or of all people."""

    usual_mm: Floats
    """[N, pairs] medians."""
    spread: Floats
    """[N, pairs] robust deviations, in usual lengths for the hand's size."""
    of_person: NDArray[np.bool_]
    """[N] whether the hand is compared with others of its person."""

    @classmethod
    def fit(cls, lengths_mm: Floats, subjects: Sequence[str]) -> "_LengthModel":
        person = np.unique(np.array(subjects), return_inverse=True)[1].reshape(-1)
        of_person = np.bincount(person)[person] >= FEWEST_OF_PERSON
        usual_mm = np.tile(_nanmedian(lengths_mm), (len(lengths_mm), 1))
        for number in np.unique(person[of_person]):
            usual_mm[person == number] = _nanmedian(lengths_mm[person == number])
        model = cls(usual_mm, np.ones_like(lengths_mm), of_person)
        apart, spread = np.abs(model.deviations(lengths_mm)), np.empty_like(lengths_mm)
        for group in (of_person, ~of_person):
            if group.any():
                spread[group] = np.maximum(_MAD_TO_DEVIATION * _nanmedian(apart[group]), _LENGTH_FLOOR)
        return cls(usual_mm, spread, of_person)

    def sizes(self, lengths_mm: Floats) -> Floats:
        """[N] of hands, in those of the hands they are compared with; 1 where nothing is known."""
        ratios = lengths_mm / self.usual_mm
        known = np.isfinite(ratios).any(axis=1)
        sizes = np.ones(len(ratios))
        sizes[known] = np.maximum(np.nanmedian(ratios[known], axis=1), _LEAST_RATIO)
        return sizes

    def deviations(self, lengths_mm: Floats) -> Floats:
        """[N, pairs] of the lengths from the usual ones for the hand's size; 0 where one is not known."""
        ratios = lengths_mm / self.usual_mm / self.sizes(lengths_mm)[:, None]
        return np.nan_to_num((ratios - 1) / self.spread, nan=0.0)

    def describe(self, row: int, z: Floats, lengths_mm: Floats) -> str:
        pair = int(np.abs(z).argmax())
        first, second = (JOINT_NAMES[joint] for joint in _PAIRS[pair])
        ratio = 1 + z[pair] * self.spread[row, pair]
        whose = "this person's other hands" if self.of_person[row] else "other hands of that size"
        return f"{first} to {second} is {ratio:.2f} times as long as in {whose}"


def _nanmedian(values: Floats) -> Floats:
    """Medians [pairs] over hands; 1 of what no hand has or has no length."""
    medians = np.ones(values.shape[1])
    known = np.isfinite(values).any(axis=0)
    medians[known] = np.maximum(np.nanmedian(values[:, known], axis=0), _LEAST_RATIO)
    return medians


def _find_exchanges(joints_mm: Floats, z: Floats, model: _LengthModel) -> dict[int, tuple[float, str]]:
    """By row, the reordering of a hand's joints that makes its lengths much more usual, and by how much.

    A length counts with its squared deviation, but no more than that of `_MOST`, so that one that is wrong
    for another reason does not decide.
    """
    costs = np.minimum(z**2, _MOST**2).sum(axis=1)
    best, names = np.full(len(costs), _CLEAR_GAIN), [""] * len(costs)
    for name, order in SUSPECTS.items():
        reordered = model.deviations(_lengths(joints_mm[:, order]))
        gains = costs - np.minimum(reordered**2, _MOST**2).sum(axis=1)
        for row in np.flatnonzero(gains > best).tolist():
            best[row], names[row] = gains[row], name
    return {row: (float(best[row]), name) for row, name in enumerate(names) if name}


def _name_sides(naming: _Naming, joints_mm: Floats, sides: Sequence[Side]) -> None:
    features = _mirror_features(joints_mm)
    complete = np.isfinite(features).all(axis=1)
    if complete.sum() < FEWEST_HANDS:
        return
    scores = np.zeros(len(joints_mm))
    scores[complete] = _mirror_scores(features[complete])
    for row in np.flatnonzero(scores < -1).tolist():
        mirror = "right" if sides[row] == "left" else "left"
        what = f"labelled as a {sides[row]} hand, and its fingers bend as those of a {mirror} one"
        naming.add(row, float(-scores[row]), what)


def _mirror_scores(features: Floats) -> Floats:
    """How surely [N] hands are as most are; below -1 they are mirror images; 0 where a set has no side.

    The direction is that of linear discriminant analysis between the hands and their mirror images.
    """
    middle = np.median(features, axis=0)
    covariance = np.cov(features.T) + _RIDGE * np.eye(len(middle))
    scores = features @ np.linalg.solve(covariance, middle)
    usual = float(np.median(scores))
    spread = _MAD_TO_DEVIATION * float(np.median(np.abs(scores - usual)))
    if usual < _SIDE_IS_CLEAR * spread:
        return np.zeros(len(features))
    certain: Floats = scores / usual / -_CLEARLY_MIRRORED
    return certain


def _mirror_features(joints_mm: Floats) -> Floats:
    """[N, 9] numbers that only change their sign in the mirror image of a hand; NaN without joints.

    How far each long finger bends at its knuckle and at its first joint, about the axis from little to index
    finger, and how far the thumb's tip lies before the palm.
    """
    wrist = joints_mm[:, WRIST]
    across = _unit(joints_mm[:, _LONG_FINGERS[0, 0]] - joints_mm[:, _LONG_FINGERS[-1, 0]])
    palm = _unit(
        np.cross(joints_mm[:, _LONG_FINGERS[0, 0]] - wrist, joints_mm[:, _LONG_FINGERS[-1, 0]] - wrist)
    )
    features = []
    for finger in _LONG_FINGERS:
        base, middle, far = (joints_mm[:, joint] for joint in finger[:3])
        metacarpal, proximal, next_bone = _unit(base - wrist), _unit(middle - base), _unit(far - middle)
        features.append((np.cross(metacarpal, proximal) * across).sum(axis=-1))
        features.append((np.cross(proximal, next_bone) * across).sum(axis=-1))
    thumb = _unit(joints_mm[:, _THUMB[-1]] - wrist)
    features.append((thumb * palm).sum(axis=-1))
    return np.stack(features, axis=1)


def _unit(vectors: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, _LEAST_MM)
    return unit
