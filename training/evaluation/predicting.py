"""An estimator asked about every hand of a split, at the speed of its network."""

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import Side
from training.datasets.record import HandDataset
from training.evaluation.hands import PredictedHands, TrueHands
from training.evaluation.labels import Progress, joined
from training.finetune.batch import HandBatch
from training.finetune.inference import Inference


def predict_split(
    inference: Inference,
    dataset: HandDataset,
    *,
    batch_size: int = 128,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[PredictedHands, TrueHands]:
    """Predict each hand of a split once, in its order, and gather the truth that was read along with it.

    Hands are cut out around their true 2D joints, as the published numbers are; a hand without any is looked
    for in its whole picture. ``workers`` processes read, 0: threads of this one; ``progress`` is told
    (done, total). Raises HandsimError for a split without hands, and for a hand that cannot be read.
    """
    if not len(dataset):
        raise HandsimError(f"split {dataset.split} of {dataset.name} has no hand; choose another one")
    said, truths = [], []
    sides: list[Side] = []
    done = 0
    for batch, predictions in inference.predict_dataset(dataset, batch_size=batch_size, workers=workers):
        said.append(predictions)
        truths.append(_truth(batch))
        sides += batch.sides
        done += len(batch)
        if progress:
            progress(done, len(dataset))
    true = joined(truths)
    cameras = [part.camera_3d_mm for part in said if part.camera_3d_mm is not None]
    predicted = PredictedHands(
        true.sample_ids,
        tuple(sides),
        np.concatenate([part.joints_3d_mm for part in said]),
        np.concatenate(cameras) if len(cameras) == len(said) else None,
        np.concatenate([part.keypoints_2d_px for part in said]),
        np.concatenate([part.confidence for part in said]),
    )
    return predicted, true


def _truth(batch: HandBatch) -> TrueHands:
    squares: NDArray[np.float64] = batch.squares_px.numpy()[:, None]
    inside = batch.keypoints.double().numpy()
    keypoints_px = squares[..., :2] + inside * (squares[..., 2:] - squares[..., :2])
    return TrueHands(
        batch.sample_ids,
        batch.joints_mm.numpy().copy(),
        keypoints_px.astype(np.float32),
        batch.valid.numpy().copy(),
    )
