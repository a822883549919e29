"""The options by which commands choose what looks for hands."""

import argparse
from pathlib import Path

from handsim.detection import DETECTORS, DetectorOptions


def add_detector_arguments(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Declare ``--detector`` and its companions."""
    line = (
        f"what looks for hands: {', '.join(DETECTORS)}, or a program of yours as command:PROGRAM (default: "
        "mediapipe); of several, each is asked where those before it find nothing or are unsure "
        "(docs/detectors.md)"
    )
    parser.add_argument("--detector", default="mediapipe", metavar="NAME[,NAME]", help=line)
    line = "a network that you bring for that detector; may be repeated"
    parser.add_argument("--detector-model", type=Path, action="append", default=[], metavar="FILE", help=line)
    defaults = DetectorOptions()
    line = f"so long a program may be silent over an image (default: {defaults.program_seconds:g})"
    parser.add_argument(
        "--detector-seconds", type=float, default=defaults.program_seconds, metavar="S", help=line
    )
    line = f"memory that a program may use (default: {defaults.program_gb:g})"
    parser.add_argument("--detector-gb", type=float, default=defaults.program_gb, metavar="GB", help=line)
    line = "MediaPipe's hand_landmarker.task (default: the cache)"
    parser.add_argument("--model", type=Path, metavar="FILE", help=line)
    line = "look at each image once: faster, finds fewer"
    parser.add_argument("--quick", "--no-retry", action="store_true", help=line)
    line = "the images come from a camera that mirrors them, as selfie cameras do"
    parser.add_argument("--mirrored", action="store_true", help=line)


def read_detector_options(options: argparse.Namespace) -> DetectorOptions:
    """What they say; raises HandsimError for a detector that there is not."""
    return DetectorOptions(
        chain=options.detector,
        models=tuple(options.detector_model),
        mediapipe_model=options.model,
        quick=options.quick,
        mirrored=options.mirrored,
        program_seconds=options.detector_seconds,
        program_gb=options.detector_gb,
    )
