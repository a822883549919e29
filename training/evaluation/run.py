"""One evaluation from a checkpoint to its scores."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handsim.cores import available_cores
from handsim.errors import HandsimError
from training.datasets.opening import open_dataset
from training.datasets.record import HandDataset
from training.evaluation.conventions import OFFICIAL, judged_split, training_split
from training.evaluation.freihand_submission import check_submittable, write_submission
from training.evaluation.hands import PredictedHands, TrueHands
from training.evaluation.labels import Progress, mean_pose_of, read_true_hands
from training.evaluation.predicting import predict_split
from training.evaluation.predictions_file import read_predictions
from training.evaluation.report import Evaluation
from training.evaluation.scores import score_mean_pose, score_split
from training.finetune.inference import Inference, load_estimator
from training.runs.settings import check_at_least


@dataclass(frozen=True)
class PoseRequest:
    """What to evaluate on what. Raises HandsimError for a number that cannot be."""

    checkpoint: Path
    """Of `handsim finetune`."""
    dataset: str | None = None
    """By its name; None: the one that was trained on."""
    root: Path | None = None
    """Where it lies; None: where it lay in training."""
    split: str | None = None
    """None: the one that the dataset's papers report (`judged_split`)."""
    predictions: Path | None = None
    """A Parquet file to be scored; None: the estimator is asked."""
    pred_json: Path | None = None
    """Where to write what FreiHAND's server takes, before anything is measured; None: nowhere."""
    batch_size: int | None = None
    """Hands at once; None: as in training."""
    workers: int | None = None
    """Processes that read, 0: threads of this one; None: as in training, no more than there are cores."""

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_at_least("--batch-size", self.batch_size, 1)
        if self.workers is not None:
            check_at_least("--workers", self.workers, 0)

    @property
    def run(self) -> str:
        """The name of the run that the checkpoint lies in, else of its file."""
        in_run = self.checkpoint.parent.name == "checkpoints"
        return self.checkpoint.parent.parent.name if in_run else self.checkpoint.stem


def evaluate_pose(request: PoseRequest, progress: Progress | None = None) -> Evaluation:
    """Predict a split, or read its predictions, and measure them; ``progress`` is told (done, total).

    Raises HandsimError for a checkpoint, a dataset or predictions that are not there, are damaged or do not
    go together. A training split that is not there costs the mean pose alone.
    """
    inference = load_estimator(request.checkpoint)
    dataset, root = _open(request, inference)
    if request.pred_json is not None:
        check_submittable(dataset.name, dataset.split, request.pred_json)
    trainer = inference.config.trainer
    workers = min(trainer.workers, available_cores()) if request.workers is None else request.workers
    facts = _facts(request, inference)
    settings: dict[str, Any] = {"dataset": dataset.name, "split": dataset.split, "root": str(root.resolve())}
    if request.predictions is None:
        size = request.batch_size or trainer.batch_size
        predicted, true = predict_split(
            inference, dataset, batch_size=size, workers=workers, progress=progress
        )
    else:
        settings["predictions"] = str(request.predictions.resolve())
        predicted = _read(request.predictions, facts["checkpoint_sha256"])
        true = read_true_hands(dataset, workers=workers, progress=progress)
        predicted = predicted.in_order_of(true.sample_ids, str(request.predictions))
    if request.pred_json is not None:
        write_submission(request.pred_json, predicted)
    mean_pose_mm, facts["mean_pose"] = _mean_pose(dataset, root, workers)
    facts["official"] = list(OFFICIAL.get(dataset.name, ()))
    facts["hands"], facts["hands_with_truth"] = len(true), int(true.valid.any(axis=1).sum())
    return evaluate_predictions(dataset, predicted, true, mean_pose_mm, settings, facts)


def evaluate_predictions(
    dataset: HandDataset,
    predicted: PredictedHands,
    true: TrueHands,
    mean_pose_mm: NDArray[np.float64] | None,
    settings: dict[str, Any],
    facts: dict[str, Any],
) -> Evaluation:
    """Measure predictions of a split's hands in its order, and the mean pose [21, 3] beside them.

    Raises HandsimError as `score_split` does, but not for a split without truth.
    """
    has_truth = true.valid.any()
    scores = score_split(predicted, true) if has_truth else None
    mean_pose = score_mean_pose(mean_pose_mm, true) if has_truth and mean_pose_mm is not None else None
    return Evaluation(dataset, predicted, true, scores, mean_pose, settings, facts)


def _open(request: PoseRequest, inference: Inference) -> tuple[HandDataset, Path]:
    data = inference.config.data
    name = request.dataset or data.dataset
    trained_on = data.root if name == data.dataset else None
    root = request.root or trained_on
    if root is None:
        raise HandsimError(f"where does {name} lie? The checkpoint does not tell; give --root FOLDER")
    learned = data.train_split if name == data.dataset else "s0_train"  # only DexYCB's are told apart
    split = request.split or judged_split(name, learned)
    return open_dataset(name, root, split), Path(root)


def _facts(request: PoseRequest, inference: Inference) -> dict[str, Any]:
    told = {name: value for name, value in inference.facts.items() if name != "config"}
    return {
        "run": request.run,
        "checkpoint": str(request.checkpoint.resolve()),
        "checkpoint_sha256": _sha256_of(request.checkpoint),
        "init": told.get("init"),
        "trained_on": inference.config.data.dataset,
        "architecture": inference.config.encoder.architecture,
        "head": inference.config.estimator.head,
        "crop_factor": inference.crop.factor,
        "size_px": inference.crop.size_px,
        "training": told,
    }


def _read(path: Path, checkpoint_sha256: str) -> PredictedHands:
    """Predictions that are of this checkpoint, or do not tell of which."""
    predicted, told = read_predictions(path)
    if told.get("checkpoint_sha256", checkpoint_sha256) != checkpoint_sha256:
        theirs = str(told["checkpoint_sha256"])[:12]
        raise HandsimError(
            f"{path} was predicted by another checkpoint ({told.get('checkpoint')}, SHA-256 {theirs}...), "
            f"not by {checkpoint_sha256[:12]}...; name that one, or predict again"
        )
    return predicted


def _mean_pose(dataset: HandDataset, root: Path, workers: int) -> tuple[NDArray[np.float64] | None, str]:
    """That of the dataset's training split, and what is to be told of it."""
    split = training_split(dataset.name, dataset.split)
    try:
        pose_mm, hands = mean_pose_of(open_dataset(dataset.name, root, split), workers=workers)
    except HandsimError as error:
        return None, f"not known: {error}"
    return pose_mm, f"of {hands:,} hands of {split}"


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
