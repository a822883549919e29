"""Which detector looks for hands, as people name it, and how it is opened.

A `DetectorOptions` is what ``--detector`` and its companions say. It is small and picklable: each process
that looks for hands opens its own detector from it.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handsim.detection.detector import HandDetector
from handsim.detection.model import name_model, require_model
from handsim.errors import HandsimError


@dataclass(frozen=True)
class DetectorOptions:
    """What looks for hands. Raises HandsimError for a detector that there is not."""

    chain: str = "mediapipe"
    """Names of `DETECTORS`, or ``command:PROGRAM``; with commas between them, each is asked where those
    before it found nothing or are unsure."""
    models: tuple[Path, ...] = ()
    """Files of networks that people bring; what each is for is told by its inputs and outputs."""
    mediapipe_model: Path | None = None
    """MediaPipe's ``hand_landmarker.task``; None: the one in the cache."""
    quick: bool = False
    """Look at each picture once: some thirty looks at one without a hand cost more than they find where most
    pictures are such (the frames of a long recording)."""
    mirrored: bool = False
    """The pictures come from a selfie camera that mirrors them: left hands look like right ones."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in DETECTORS:
                raise HandsimError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}")

    @property
    def names(self) -> list[str]:
        """The detectors of the chain."""
        return self.chain.split(",")


def open_detector(options: DetectorOptions) -> HandDetector:
    """Open a detector; raises NotThereError without its model, HandsimError for one it cannot read."""
    (name,) = options.names
    return DETECTORS[name].open(options)


def describe_detector(options: DetectorOptions) -> str:
    """A text that differs for detectors that may find other hands in the same picture, models included.

    Raises as `open_detector` does; of MediaPipe's models only the checksums are read.
    """
    (name,) = options.names
    return DETECTORS[name].describe(options)


@dataclass(frozen=True)
class _Opener:
    """How a detector of one name is opened and described."""

    open: Callable[[DetectorOptions], HandDetector]
    describe: Callable[[DetectorOptions], str]


def _open_mediapipe(options: DetectorOptions) -> HandDetector:
    from handsim.detection.mediapipe import FullBoxHands, MediaPipeHands
    from handsim.detection.search import RETRY_STAGES, RetryingDetector, RetryStage, fill

    model = require_model(options.mediapipe_model)
    if options.quick:
        return RetryingDetector(MediaPipeHands(model), ())
    full_box = RetryStage("full-image box", fill, FullBoxHands(model))
    return RetryingDetector(MediaPipeHands(model), (*RETRY_STAGES, full_box))


def _describe_mediapipe(options: DetectorOptions) -> str:
    model = name_model(require_model(options.mediapipe_model))
    return f"{model} model, {'one look' if options.quick else 'retry'}"


def _open_rtmpose(options: DetectorOptions) -> HandDetector:
    from handsim.detection.rtmpose import RtmposeHands

    return RtmposeHands(options.models, options.mediapipe_model)


def _describe_rtmpose(options: DetectorOptions) -> str:
    from handsim.detection.rtmpose import RtmposeHands

    # Opened, not only read: a network that cannot be used is told before the workers start.
    with closing(RtmposeHands(options.models, options.mediapipe_model)) as detector:
        return detector.describe()


DETECTORS: Final = {
    "mediapipe": _Opener(_open_mediapipe, _describe_mediapipe),
    "rtmpose": _Opener(_open_rtmpose, _describe_rtmpose),
}
