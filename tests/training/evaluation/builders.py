"""Random predictions and truths."""

import numpy as np

from handsim.hand import SIDES
from training.evaluation.predictions import PredictedHands, TrueHands


def random_predictions(hands: int, seed: int = 0, *, in_camera: bool = True) -> PredictedHands:
    random = np.random.default_rng(seed)
    joints = random.normal(0, 40, (hands, 21, 3)).astype(np.float32)
    joints -= joints[:, :1]
    return PredictedHands(
        tuple(f"set/{number:04d}" for number in range(hands)),
        tuple(SIDES[number % 2] for number in range(hands)),
        joints,
        joints + np.array([10, -20, 500], np.float32) if in_camera else None,
        random.uniform(0, 200, (hands, 21, 2)).astype(np.float32),
        random.uniform(0, 1, (hands, 21)).astype(np.float32),
    )


def random_truth(hands: int, seed: int = 1) -> TrueHands:
    """Some joints are NaN and not valid; every wrist and middle knuckle is valid."""
    random = np.random.default_rng(seed)
    valid = random.random((hands, 21)) > 0.2
    valid[:, [0, 9]] = True
    joints = random.normal(0, 40, (hands, 21, 3)).astype(np.float32) + np.array([0, 0, 600], np.float32)
    keypoints = random.uniform(0, 200, (hands, 21, 2)).astype(np.float32)
    joints[~valid], keypoints[~valid] = np.nan, np.nan
    names = tuple(f"set/{number:04d}" for number in range(hands))
    people = tuple(f"person {number % 5}" for number in range(hands))
    return TrueHands(names, people, joints, keypoints, valid, np.ones(hands, np.bool_))
