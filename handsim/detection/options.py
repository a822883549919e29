"""Which detector looks for hands, as people name it, and how it is opened.

A `DetectorOptions` is what ``--detector`` and its companions say. It is small and picklable: each process
that looks for hands opens its own detector from it.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from handsim.detection.detector import HandDetector
from handsim.detection.model import name_model, require_model
from handsim.errors import HandsimError, did_you_mean

COMMAND: Final = "command:"
"""Before the command line of a program that looks for hands."""
_LINK: Final = re.compile(r"""(?:[^,'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")*""", re.DOTALL)
"""A name in a chain: commas between quotes are its own, as a shell reads them."""


@dataclass(frozen=True)
class DetectorOptions:
    """What looks for hands. Raises HandsimError for a detector that there is not, and for limits of 0."""

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
    program_seconds: float = 60.0
    """So long a program may be silent over a picture."""
    program_gb: float = 16.0
    """So much memory a program and its children may use, in gigabytes (10^9 bytes)."""

    def __post_init__(self) -> None:
        names = self.names
        for number, name in enumerate(names):
            if name not in DETECTORS and not name.startswith(COMMAND):
                known = [*DETECTORS, f"{COMMAND}PROGRAM"]
                there_are = f"there are {', '.join(known)}"
                raise HandsimError(f"there is no detector {name!r}{did_you_mean(name, known)}; {there_are}")
            if name in names[:number]:
                raise HandsimError(f"--detector {self.chain!r} names {name} twice; each is asked once")
        if self.models and "rtmpose" not in names:
            raise HandsimError(f"--detector-model {self.models[0]} is for rtmpose; add --detector rtmpose")
        for option, value in (
            ("--detector-seconds", self.program_seconds),
            ("--detector-gb", self.program_gb),
        ):
            if not 0 < value < float("inf"):
                raise HandsimError(f"{option} is {value:g}; it must be more than 0")

    @property
    def program_patience_s(self) -> float:
        """So long one picture may take the programs of the chain: each is started, and asked, twice."""
        from handsim.detection.program import START_S

        programs = sum(name.startswith(COMMAND) for name in self.names)
        return programs * 2 * (START_S + self.program_seconds)

    @property
    def names(self) -> list[str]:
        """The detectors of the chain, in order."""
        names, end = list[str](), -1
        while end < len(self.chain):
            link = _LINK.match(self.chain, end + 1)
            assert link is not None  # it matches nothing, if need be
            names.append(link.group().strip())
            end = link.end()
            if self.chain[end : end + 1] not in ("", ","):
                raise HandsimError(f"--detector {self.chain!r} has a quote that does not close")
        return names


def open_detector(options: DetectorOptions) -> HandDetector:
    """Open a detector; raises NotThereError without its model, HandsimError for one it cannot read."""
    from handsim.detection.chain import ChainedDetector
    from handsim.detection.mirrored import MirroredDetector

    with ExitStack() as opened:
        detectors = [opened.enter_context(closing(_opener(name).open(options))) for name in options.names]
        opened.pop_all()  # only where one cannot be opened, the others are closed here
    detector = detectors[0] if len(detectors) == 1 else ChainedDetector(detectors)
    return MirroredDetector(detector) if options.mirrored else detector


def describe_detector(options: DetectorOptions) -> str:
    """A text that differs for detectors that may find other hands in the same picture, models included.

    Raises as `open_detector` does; of MediaPipe's models only the checksums are read.
    """
    parts = [_opener(name).describe(options) for name in options.names]
    return "; then ".join(parts) + (", mirrored" if options.mirrored else "")


@dataclass(frozen=True)
class _Opener:
    """How a detector of one name is opened and described."""

    open: Callable[[DetectorOptions], HandDetector]
    describe: Callable[[DetectorOptions], str]


def _opener(name: str) -> _Opener:
    if not name.startswith(COMMAND):
        return DETECTORS[name]
    command = name.removeprefix(COMMAND)
    return _Opener(partial(_open_program, command), partial(_describe_program, command))


def _open_mediapipe(options: DetectorOptions) -> HandDetector:
    from handsim.detection.mediapipe import MediaPipeHands

    return MediaPipeHands(require_model(options.mediapipe_model), quick=options.quick)


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


def _open_program(command: str, options: DetectorOptions) -> HandDetector:
    from handsim.detection.program import ProgramHands

    return ProgramHands(command, options.program_seconds, options.program_gb)


def _describe_program(command: str, options: DetectorOptions) -> str:
    from handsim.detection.program import split_command

    words = split_command(command)
    return f"{COMMAND}{' '.join(map(_name_word, words))}"


def _name_word(word: str) -> str:
    """A word of a command line; a file's is its name and content, so that it may lie elsewhere."""
    path = Path(word)
    if not path.is_file():
        return word
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}"


DETECTORS: Final = {
    "mediapipe": _Opener(_open_mediapipe, _describe_mediapipe),
    "rtmpose": _Opener(_open_rtmpose, _describe_rtmpose),
}
