"""Estimated hands of photographs and videos: in JSON, and drawn."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.atomic_file import write_text_atomically
from handsim.drawing import HandDrawing, draw_hands
from handsim.errors import HandsimError
from training.finetune.inference import Inference
from training.prediction.estimating import EstimatedHand, estimate_hands
from training.prediction.pictures import Picture, is_video, pictures_of
from training.prediction.places import HandPlace

_JPEG_QUALITY: Final = 92
_DECIMALS: Final = 3
"""Of pixels, millimetres and confidences."""

Find = Callable[[NDArray[np.uint8]], list[HandPlace]]
"""Where the hands of a picture [H, W, 3] are."""


@dataclass(frozen=True)
class Predictor:
    """Everything that decides what is said of a picture."""

    inference: Inference
    """The estimator."""
    find: Find
    """Where it is to look."""
    focal_px: float | None
    """The camera's focal length in pixels, where it is known."""
    every_s: float
    """Seconds between the frames of a video."""
    out: Path | None
    """Where JSON and drawings go; None: nowhere."""


@dataclass(frozen=True)
class FilePrediction:
    """What was said of one file."""

    facts: dict[str, Any]
    """As JSON: ``file``, and ``hands`` of a photograph or ``frames`` with hands of a video."""
    pictures: int
    """How many were looked at."""
    hands: int
    """How many were estimated."""
    written: tuple[Path, ...] = field(default=())
    """Its JSON, then its drawings."""
    problem: HandsimError | None = None
    """Why the file, or the rest of it, could not be used."""


def predict_files(
    paths: Sequence[Path], predictor: Predictor, progress: Callable[[int, int], None]
) -> Iterator[FilePrediction]:
    """Estimate all hands of each file; one that cannot be used does not stop the others.

    ``progress`` is told (pictures done, 0). Raises HandsimError where the output cannot be written or would
    be written over one of the files, and for what is wrong with every picture alike.
    """
    taken: set[str] = set()
    names = [_unused(path.stem, taken) for path in paths]
    _check_originals(paths, names, predictor.out)
    done = 0

    def looked_at() -> None:
        nonlocal done
        done += 1
        progress(done, 0)

    for path, name in zip(paths, names, strict=True):
        yield _predict_file(path, name, predictor, looked_at)


def _check_originals(paths: Sequence[Path], names: Sequence[str], out: Path | None) -> None:
    if out is None:
        return
    originals = {path.resolve() for path in paths}
    for path, name in zip(paths, names, strict=True):
        drawn = out / f"{name}.jpg"
        if not is_video(path) and drawn.resolve() in originals:
            raise HandsimError(f"what is drawn of {path} would be written over {drawn}; name another --out")


def _predict_file(
    path: Path, name: str, predictor: Predictor, looked_at: Callable[[], None]
) -> FilePrediction:
    told: list[dict[str, Any]] = []
    written: list[Path] = []
    problem: HandsimError | None = None
    pictures = pictures_of(path, predictor.every_s)
    while True:
        try:
            picture = next(pictures, None)
        except HandsimError as error:  # of this file alone; what the estimator raises is of all of them
            problem, picture = error, None
        if picture is None:
            break
        hands = _estimate(picture, predictor)
        told.append(_facts(picture, hands))
        if predictor.out is not None:
            drawn = _drawing_path(predictor.out, name, picture)
            _draw(picture, hands, drawn)
            told[-1]["drawn"] = str(drawn.relative_to(predictor.out))
            written.append(drawn)
        looked_at()
    facts = {"file": str(path), **({"frames": told} if is_video(path) else told[0] if told else {})}
    if problem is not None:
        facts["problem"] = str(problem)
    if predictor.out is not None and told:
        answer = predictor.out / f"{name}.json"
        write_text_atomically(answer, json.dumps(facts) + "\n")
        written.insert(0, answer)
    count = sum(len(each["hands"]) for each in told)
    return FilePrediction(facts, len(told), count, tuple(written), problem)


def _estimate(picture: Picture, predictor: Predictor) -> list[EstimatedHand]:
    places = predictor.find(picture.image)
    return estimate_hands(predictor.inference, picture.image, places, predictor.focal_px)


def _facts(picture: Picture, hands: Sequence[EstimatedHand]) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    facts: dict[str, Any] = (
        {} if picture.frame is None else {"frame": picture.frame, "time_s": picture.time_s}
    )
    return {**facts, "width": width, "height": height, "hands": [hand_facts(hand) for hand in hands]}


def hand_facts(hand: EstimatedHand) -> dict[str, Any]:
    """A hand as plain values; ``camera_3d_mm`` only where the focal length was given."""
    place = hand.place
    facts: dict[str, Any] = {
        "side": place.side,
        "score": None if place.score is None else round(place.score, _DECIMALS),
        "box_px": _rounded(place.box_px),
        "square_px": _rounded(place.square_px),
        "keypoints_2d_px": _rounded(hand.keypoints_2d_px),
        "confidence": _rounded(hand.confidence),
        "joints_3d_mm": _rounded(hand.joints_3d_mm),
    }
    if hand.camera_3d_mm is not None:
        facts["camera_3d_mm"] = _rounded(hand.camera_3d_mm)
    return facts


def _rounded(numbers: NDArray[np.floating]) -> list[Any]:
    # As float64: rounded float32 would print all their digits.
    rounded: list[Any] = numbers.astype(np.float64).round(_DECIMALS).tolist()
    return rounded


def _draw(picture: Picture, hands: Sequence[EstimatedHand], path: Path) -> None:
    """Nearer bones over farther ones."""
    drawings = [
        HandDrawing(
            np.concatenate([hand.keypoints_2d_px, hand.joints_3d_mm[:, 2:]], axis=1), _caption(hand.place)
        )
        for hand in hands
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_hands(picture.image, drawings).save(path, "JPEG", quality=_JPEG_QUALITY)
    except OSError as error:
        raise HandsimError(
            f"{path} cannot be written ({error.strerror or error}); name another --out"
        ) from error


def _caption(place: HandPlace) -> str:
    return place.side if place.score is None else f"{place.side} {place.score:.2f}"


def _drawing_path(out: Path, name: str, picture: Picture) -> Path:
    return out / (f"{name}.jpg" if picture.frame is None else f"{name}/{picture.frame:06d}.jpg")


def _unused(stem: str, names: set[str]) -> str:
    """The file's name without its suffix; a second one of that name gets a number."""
    name, number = stem, 2
    while name in names:
        name, number = f"{stem}-{number}", number + 1
    names.add(name)
    return name
