"""Evaluate an estimator, or predictions of any method, on a split, from the files to the scores.

Hands are cut out around their true 2D joints, as for the published numbers, so only the pose is measured and
not the detection. Beside the estimator stands the mean pose of the training split: an estimator that does no
better has learned nothing from images.
"""

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import Side
from handsim.metrics.pose import mean_pose_mm
from handsim.processes import available_cores
from training.datasets.bad_list import bad_rows, without_rows
from training.datasets.freihand import FreiHAND
from training.datasets.open_dataset import check_has_3d, open_dataset
from training.datasets.record import HandDataset, lies_in_picture
from training.evaluation.predictions import PredictedHands, TrueHands, read_predictions
from training.evaluation.report import (
    OFFICIAL,
    Evaluation,
    evaluation_split,
    score_mean_pose,
    score_split,
    training_split,
)
from training.evaluation.submission import SUFFIX, check_submittable, read_submission, write_submission
from training.finetune.data import HandBatch
from training.finetune.pose_model import Predictions
from training.finetune.predictor import Inference, load_estimator
from training.runs.settings import check_at_least
from training.runs.workers import WorkerProcesses, Workers, WorkerThreads

MEAN_POSE_HANDS: Final = 5000
"""At most so many hands make up a mean pose; evenly spaced, because those of one person follow each other."""
_CHUNK_HANDS: Final = 64

Progress = Callable[[int, int], None]
"""Called with how many hands are done, and how many there are."""


@dataclass(frozen=True)
class PoseRequest:
    """What to evaluate, and on what. Raises HandsimError for a number out of bounds."""

    checkpoint: Path | None
    """Of `handsim finetune`; None: score ``predictions`` of any method, with ``dataset`` and ``root``."""
    dataset: str | None = None
    """By its name; None: the one of the training."""
    root: Path | None = None
    """Its folder; None: where it was in training."""
    split: str | None = None
    """None: the one that the dataset's papers report (`evaluation_split`)."""
    predictions: Path | None = None
    """A Parquet file to score, or FreiHAND's pred.json; None: predict."""
    pred_json: Path | None = None
    """Where to write the file for FreiHAND's server, before anything is measured; None: nowhere."""
    skip_bad: Path | None = None
    """A list of bad labels whose hands are left out; None: measure on all, as published numbers are."""
    batch_size: int | None = None
    """Hands in a batch; None: as in training."""
    workers: int | None = None
    """Processes that read, 0: threads of this one; None: as in training, but at most one for each core."""

    def __post_init__(self) -> None:
        if self.checkpoint is None:
            if self.predictions is None:
                raise HandsimError(
                    "name an estimator, a run or a checkpoint, or give a file to --predictions"
                )
            if self.dataset is None or self.root is None:
                raise HandsimError(
                    f"{self.predictions} does not say what it predicts; give --dataset NAME and --root FOLDER"
                )
        if self.batch_size is not None:
            check_at_least("--batch-size", self.batch_size, 1)
        if self.workers is not None:
            check_at_least("--workers", self.workers, 0)

    @property
    def run(self) -> str:
        """The name of the checkpoint's run, else of its file; without a checkpoint of the predictions'."""
        if self.checkpoint is None:
            assert self.predictions is not None
            return self.predictions.stem
        in_run = self.checkpoint.parent.name == "checkpoints"
        return self.checkpoint.parent.parent.name if in_run else self.checkpoint.stem


def evaluate_pose(request: PoseRequest, progress: Progress | None = None) -> Evaluation:
    """Predict a split, or read its predictions, and score them.

    Raises HandsimError for a checkpoint, a dataset or predictions that are missing, are damaged or do not fit
    together. Without the training split only the mean pose is missing.
    """
    inference = None if request.checkpoint is None else load_estimator(request.checkpoint)
    stored, root = _open(request, inference)
    _check_pred_json(request, stored)
    dataset, skipped = stored, 0
    if request.skip_bad is not None:
        bad = bad_rows(request.skip_bad, stored)
        dataset, skipped = without_rows(stored, bad), len(bad)
    metadata = _metadata(request, inference)
    settings: dict[str, Any] = {"dataset": dataset.name, "split": dataset.split, "root": str(root.resolve())}
    workers = _workers(request, inference)
    if request.predictions is None:
        assert inference is not None
        size = request.batch_size or inference.config.trainer.batch_size
        predicted, true = predict_split(
            inference, dataset, batch_size=size, workers=workers, progress=progress
        )
    else:
        settings["predictions"] = str(request.predictions.resolve())
        predicted = _read_predictions(request.predictions, stored, metadata.get("checkpoint_sha256"))
        true = read_true_hands(dataset, workers=workers, progress=progress)
        if skipped:
            predicted = predicted.only(set(true.sample_ids))
        predicted = predicted.in_order_of(true.sample_ids, str(request.predictions))
    if request.pred_json is not None:
        write_submission(request.pred_json, predicted)
    if isinstance(stored, FreiHAND) and stored.has_truth:
        true, metadata["mesh"] = _with_meshes(stored, predicted, true)
    mean_pose_mm, metadata["mean_pose"] = _training_mean_pose(dataset, root, workers)
    metadata["official"] = list(OFFICIAL.get(dataset.name, ()))
    if request.skip_bad is not None:
        settings["skip_bad"], metadata["skipped_bad"] = str(request.skip_bad.resolve()), skipped
    has_truth = true.valid.any(axis=1)
    metadata["hands"], metadata["hands_with_truth"] = len(true), int(has_truth.sum())
    metadata["outside"] = int((has_truth & ~true.in_picture).sum())
    return evaluate_predictions(dataset, predicted, true, mean_pose_mm, settings, metadata)


def evaluate_predictions(
    dataset: HandDataset,
    predicted: PredictedHands,
    true: TrueHands,
    mean_pose_mm: NDArray[np.float64] | None,
    settings: dict[str, Any],
    metadata: dict[str, Any],
) -> Evaluation:
    """Score predictions of a split's hands in its order, and the mean pose [21, 3] beside them.

    Raises HandsimError as `score_split` does; a split without truth gives an evaluation without scores.
    """
    has_truth = true.valid.any()
    scores = score_split(predicted, true) if has_truth else None
    mean_pose = score_mean_pose(mean_pose_mm, true) if has_truth and mean_pose_mm is not None else None
    return Evaluation(dataset, predicted, true, scores, mean_pose, settings, metadata)


def _open(request: PoseRequest, inference: Inference | None) -> tuple[HandDataset, Path]:
    data = None if inference is None else inference.config.data
    name = request.dataset or (data.dataset if data is not None else None)
    assert name is not None
    check_has_3d(name)
    is_own = data is not None and name == data.dataset
    root = request.root or (data.root if data is not None and is_own else None)
    if root is None:
        raise HandsimError(
            f"the folder of {name} is unknown: the checkpoint does not say it; give --root FOLDER"
        )
    train_split = data.train_split if data is not None and is_own else "s1_train"  # matters for DexYCB only
    split = request.split or evaluation_split(name, train_split)
    return open_dataset(name, root, split), Path(root)


def _check_pred_json(request: PoseRequest, dataset: HandDataset) -> None:
    if request.pred_json is not None:
        check_submittable(dataset.name, dataset.split, request.pred_json)
        if request.skip_bad is not None:
            raise HandsimError("--pred-json needs all hands of the split; leave out --skip-bad")


def _workers(request: PoseRequest, inference: Inference | None) -> int:
    if request.workers is not None or inference is None:
        return request.workers or 0
    return min(inference.config.trainer.workers, available_cores())


def _metadata(request: PoseRequest, inference: Inference | None) -> dict[str, Any]:
    """Where the predictions come from; of another method, only the name of its file."""
    if inference is None or request.checkpoint is None:
        return {"run": request.run}
    training = {name: value for name, value in inference.metadata.items() if name != "config"}
    return {
        "run": request.run,
        "checkpoint": str(request.checkpoint.resolve()),
        "checkpoint_sha256": _sha256_of(request.checkpoint),
        "init": training.get("init"),
        "trained_on": inference.config.data.dataset,
        "architecture": inference.config.encoder.architecture,
        "head": inference.config.estimator.head,
        "crop_factor": inference.crop.factor,
        "size_px": inference.crop.size_px,
        "training": training,
    }


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_predictions(path: Path, dataset: HandDataset, checkpoint_sha256: str | None) -> PredictedHands:
    """Predictions of this checkpoint, where there is one, or of a file that names none."""
    if path.suffix == SUFFIX:
        return read_submission(path, dataset)
    predicted, metadata = read_predictions(path)
    theirs = metadata.get("checkpoint_sha256")
    if checkpoint_sha256 is not None and theirs not in (None, checkpoint_sha256):
        raise HandsimError(
            f"{path} was predicted by another checkpoint ({metadata.get('checkpoint')}, SHA-256 "
            f"{theirs[:12]}...), not by {checkpoint_sha256[:12]}...; name that one, or predict again"
        )
    return predicted


def _with_meshes(
    dataset: FreiHAND, predicted: PredictedHands, true: TrueHands
) -> tuple[TrueHands, str | None]:
    """The truth with its meshes, where predictions have some, and in a line why meshes are not measured."""
    if predicted.vertices_mm is None:
        return true, (
            "the predictions are joints alone, which is all that handsim's estimators give; a pred.json with "
            "MANO's 778 vertices of each hand is scored by --predictions"
        )
    try:
        vertices_mm = dataset.read_vertices_mm(true.sample_ids)
    except NotThereError as error:
        return true, str(error)
    theirs, ours = predicted.vertices_mm.shape[1], vertices_mm.shape[1]
    if theirs != ours:
        return true, f"predicted meshes have {theirs:,} vertices and the true ones {ours:,}; predict MANO's"
    return replace(true, vertices_mm=vertices_mm), None


def _training_mean_pose(
    dataset: HandDataset, root: Path, workers: int
) -> tuple[NDArray[np.float64] | None, str]:
    """The mean pose of the dataset's training split, and a note on it for the report."""
    split = training_split(dataset.name, dataset.split)
    try:
        pose_mm, hands = mean_pose_of(open_dataset(dataset.name, root, split), workers=workers)
    except HandsimError as error:
        return None, f"not known: {error}"
    return pose_mm, f"of {hands:,} hands of {split}"


def predict_split(
    inference: Inference,
    dataset: HandDataset,
    *,
    batch_size: int = 128,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[PredictedHands, TrueHands]:
    """Predict each hand of a split, in its order, and collect the truth that is read on the way.

    ``workers`` processes read, 0: threads of this one. Raises HandsimError for a split without hands, and for
    a hand that cannot be read.
    """
    _check_not_empty(dataset, len(dataset))
    parts, truths = [], []
    sides: list[Side] = []
    for batch, predictions in inference.predict_dataset(dataset, batch_size=batch_size, workers=workers):
        parts.append(predictions)
        truths.append(_true_hands(batch))
        sides += batch.sides
        if progress:
            progress(len(sides), len(dataset))
    true = _concatenate(truths)
    predicted = PredictedHands(true.sample_ids, tuple(sides), **vars(Predictions.concatenate(parts)))
    return predicted, true


def _true_hands(batch: HandBatch) -> TrueHands:
    """The truth of a batch; its 2D joints are in the crops' unit squares."""
    squares: NDArray[np.float64] = batch.squares_px.numpy()[:, None]
    in_square = batch.keypoints.double().numpy()
    keypoints_px = squares[..., :2] + in_square * (squares[..., 2:] - squares[..., :2])
    return TrueHands(
        batch.sample_ids,
        batch.subjects,
        batch.joints_mm.numpy().copy(),
        keypoints_px.astype(np.float32),
        batch.valid.numpy().copy(),
        np.array(batch.in_picture),
    )


def mean_pose_of(dataset: HandDataset, *, workers: int = 0) -> tuple[NDArray[np.float64], int]:
    """The mean hand [21, 3] of a split in mm, at its mean wrist in the camera frame, and of how many hands.

    At most `MEAN_POSE_HANDS` are read. Raises HandsimError as `read_true_hands` and `mean_pose_mm` do.
    """
    count = min(len(dataset), MEAN_POSE_HANDS)
    rows = np.linspace(0, len(dataset) - 1, count).round().astype(np.int64)
    true = read_true_hands(dataset, rows, workers=workers)
    return mean_pose_mm(true.joints_3d_mm, true.valid), len(true)


def read_true_hands(
    dataset: HandDataset,
    rows: NDArray[np.integer] | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> TrueHands:
    """Read the truth of a split's hands, or of those of ``rows``, in order and without their images.

    ``workers`` processes read, 0: threads of this one. Raises HandsimError for a damaged label and for a
    split without hands.
    """
    rows = np.arange(len(dataset)) if rows is None else rows
    _check_not_empty(dataset, len(rows))
    read = _LabelReader(dataset)
    readers: Workers[NDArray[np.integer], TrueHands] = (
        WorkerProcesses(read, workers) if workers else WorkerThreads(read, "handsim-labels")
    )
    chunks = (rows[start : start + _CHUNK_HANDS] for start in range(0, len(rows), _CHUNK_HANDS))
    parts, done = [], 0
    with closing(readers):
        for part in readers.map(chunks):
            parts.append(part)
            done += len(part)
            if progress:
                progress(done, len(rows))
    return _concatenate(parts)


class _LabelReader:
    """In a worker: rows of the dataset to their truth."""

    def __init__(self, dataset: HandDataset) -> None:
        self._dataset = dataset

    def __call__(self, rows: NDArray[np.integer]) -> TrueHands:
        labels = [self._dataset.label(row) for row in rows.tolist()]
        return TrueHands(
            tuple(label.sample_id for label in labels),
            tuple(label.subject for label in labels),
            np.stack([label.joints_3d_mm for label in labels]),
            np.stack([label.keypoints_2d_px for label in labels]),
            np.stack([label.valid for label in labels]),
            np.array([lies_in_picture(label) for label in labels]),
        )


def _concatenate(parts: list[TrueHands]) -> TrueHands:
    return TrueHands(
        tuple(name for part in parts for name in part.sample_ids),
        tuple(name for part in parts for name in part.subjects),
        np.concatenate([part.joints_3d_mm for part in parts]),
        np.concatenate([part.keypoints_2d_px for part in parts]),
        np.concatenate([part.valid for part in parts]),
        np.concatenate([part.in_picture for part in parts]),
    )


def _check_not_empty(dataset: HandDataset, hands: int) -> None:
    if not hands:
        raise HandsimError(f"split {dataset.split} of {dataset.name} has no hand; choose another one")
