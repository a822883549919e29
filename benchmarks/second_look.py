"""How many faulty labels a detector contradicts in `handsim dataset check --look`, and how many sound ones.

Synthetic crops in FreiHAND's layout, in which labels agree with themselves; a tenth of them gets one fault at
a time. Prints JSON; one look takes about a third of a second of a core:

    python -m benchmarks.second_look --hands 150
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from handsim.detection import DetectorOptions, open_detector
from handsim.detection.detector import HandDetector
from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import project
from training.datasets.freihand import FreiHAND
from training.datasets.layouts import EVALUATION_EVERY, write_freihand
from training.datasets.record import HandLabel, LabelledHand
from training.datasets.second_look import take_second_look

FAULTY_SHARE: Final = 0.1
MOVED_MM: Final = 50.0
_RNG: Final = np.random.default_rng(0)

Fault = Callable[[FreiHAND, int], HandLabel]


def move(hands: FreiHAND, index: int) -> HandLabel:
    """3D moved by 5 cm, 2D projected from it."""
    label, direction = hands.label(index), _RNG.standard_normal(3)
    joints = label.joints_3d_mm.astype(np.float64) + MOVED_MM * direction / np.linalg.norm(direction)
    return replace(label, keypoints_2d_px=project(joints, label.intrinsics).astype(np.float32))


def of_next(hands: FreiHAND, index: int) -> HandLabel:
    return hands.label((index + 1) % len(hands))


def mirror(hands: FreiHAND, index: int) -> HandLabel:
    """A right hand labelled left is mirrored when it is read."""
    return replace(hands.label(index).mirrored(), side="left")


FAULTS: Final[dict[str, Fault]] = {
    "3D moved by 5 cm, 2D projected": move,
    "labels of the next picture": of_next,
    "labelled as the other side": mirror,
}


class FaultyHands:
    """A split in which some hands have another label."""

    name, skipped = "freihand", 0

    def __init__(self, hands: FreiHAND, labels: dict[int, HandLabel]) -> None:
        self.split, self._hands, self._labels = hands.split, hands, labels

    def __len__(self) -> int:
        return len(self._hands)

    def label(self, index: int) -> HandLabel:
        return self._labels.get(index) or self._hands.label(index)

    def __getitem__(self, index: int) -> LabelledHand:
        image, label = self._hands[index].image, self.label(index)
        return LabelledHand(**vars(label), image=image[:, ::-1] if label.side == "left" else image)

    def files(self, index: int) -> tuple[Path, ...]:
        return self._hands.files(index)


def measure(hands: FreiHAND, fault: Fault | None, detector: HandDetector) -> dict[str, float]:
    count = round(FAULTY_SHARE * len(hands)) if fault else 0
    rows = set(_RNG.choice(len(hands), count, replace=False).tolist())
    faulty = FaultyHands(hands, {row: fault(hands, row) for row in rows} if fault else {})
    drawn = [(faulty, row, faulty.label(row)) for row in range(len(hands))]
    second = take_second_look(drawn, [], len(hands), detector)
    named = {bad.row for bad in second.bad}
    return {
        **{name: round(number, 3) for name, number in second.finding.numbers.items()},
        "injected": len(rows),
        "named": len(named & rows),
        "sound_named": len(named - rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=150, help="%(default)s")
    hands = parser.parse_args().hands
    videos = hands * EVALUATION_EVERY // (EVALUATION_EVERY - 1)
    with tempfile.TemporaryDirectory() as folder, closing(open_detector(DetectorOptions())) as detector:
        write_freihand(Path(folder) / "set", SyntheticConfig(videos=videos, hands_per_video=1, seed=7))
        split = FreiHAND(Path(folder) / "set", "train_v0")
        report = {"none": measure(split, None, detector)}
        report |= {name: measure(split, fault, detector) for name, fault in FAULTS.items()}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
