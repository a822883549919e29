"""How many injected faults the dataset check names, and how many sound hands: prints JSON.

Labels alone are made, of 1,200 hands, five of each person, exact and with 3 mm of noise on each axis:

    python -m benchmarks.bad_labels
"""

import json
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import project
from handsim.synthetic.video import compute_geometry, sample_video
from training.datasets.bad_labels import find_bad_labels
from training.datasets.record import HandLabel

Hand = NDArray[np.float64]
VIDEOS, FRAMES, NOISE_MM = 240, 5, (0.0, 3.0)
MOVED_MM: Final = 50.0
_K: Final = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
_RNG: Final = np.random.default_rng(0)


def swap_fingers(hand: Hand) -> Hand:
    order = np.arange(1, 21).reshape(5, 4)
    one, other = _RNG.choice(5, 2, replace=False)
    order[[one, other]] = order[[other, one]]
    return hand[[0, *order.ravel().tolist()]]


def move(hand: Hand) -> Hand:
    direction = _RNG.standard_normal(3)
    moved: Hand = hand + MOVED_MM * direction / np.linalg.norm(direction)
    return moved


def lengthen_bone(hand: Hand) -> Hand:
    base, longer = 1 + 4 * int(_RNG.integers(1, 5)), hand.copy()
    longer[base + 1 : base + 4] += 0.3 * (hand[base + 1] - hand[base])
    return longer


FAULTS: Final[dict[str, tuple[Callable[[Hand], Hand], float, bool]]] = {
    "two fingers swapped": (swap_fingers, 0.02, True),
    "all joints permuted": (lambda hand: hand[_RNG.permutation(21)], 0.02, True),
    "mirrored": (lambda hand: hand * [-1, 1, 1], 0.02, True),
    "a bone 1.3 times as long": (lengthen_bone, 0.02, True),
    "the hand 1.3 times as large": (lambda hand: hand[0] + 1.3 * (hand - hand[0]), 0.02, True),
    "3D moved by 5 cm, 2D stored": (move, 0.02, False),
    "3D moved by 5 cm, 2D stored, of 30 %": (move, 0.3, False),
    "3D moved by 5 cm, 2D projected": (move, 0.02, True),
}
"""Fault -> what it does to a hand, to which share, and whether the 2D joints are projected after it."""


def measure(hands: NDArray[np.float64], fault: str) -> dict[str, float]:
    change, share, reproject = FAULTS[fault]
    rows = set(_RNG.choice(len(hands), round(share * len(hands)), replace=False).tolist())
    faulty = np.stack([change(hand) if row in rows else hand for row, hand in enumerate(hands)])
    annotated = project(faulty if reproject else hands, _K)
    named = {bad.row for bad in find_bad_labels(labels_of(faulty), annotated)}
    return {
        "injected": len(rows),
        "named_share": round(len(named & rows) / len(rows), 3),
        "sound_named": len(named - rows),
    }


def labels_of(hands: NDArray[np.float64]) -> list[HandLabel]:
    valid = np.ones(21, np.bool_)
    return [
        HandLabel(
            *(str(row), str(row // FRAMES), "right", (640, 480)),
            *(project(hand, _K).astype(np.float32), hand.astype(np.float32), _K, valid),
        )
        for row, hand in enumerate(hands)
    ]


def main() -> None:
    world = SyntheticConfig(videos=VIDEOS, hands_per_video=FRAMES, seed=3)
    exact = compute_geometry([sample_video(world, number) for number in range(VIDEOS)]).joints_mm
    report = {}
    for noise_mm in NOISE_MM:
        hands = exact + noise_mm * _RNG.standard_normal(exact.shape)
        sound = find_bad_labels(labels_of(hands), project(hands, _K))
        report[f"noise of {noise_mm:g} mm"] = {
            "hands": len(hands),
            "sound_set_named": len(sound),
            "faults": {fault: measure(hands, fault) for fault in FAULTS},
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
