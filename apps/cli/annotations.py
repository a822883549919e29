"""The options of ``handsim ingest`` for people's own keypoints and boxes."""

import argparse
from pathlib import Path
from typing import get_args

from apps.cli.console import option_type
from handsim.annotations import AnnotationFormat, AnnotationOptions, parse_joint_order
from handsim.annotations.annotated_hand import DEFAULT_MIN_JOINTS
from handsim.hand import Side


def add_annotation_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them; docs/pool.md has an example of each format."""
    group = parser.add_argument_group(
        "annotations", "keypoints and boxes of your own (JSON, JSON lines, npz)"
    )
    group.add_argument(
        "--images", type=Path, metavar="DIR", help="the folder with their images (default: where they lie)"
    )
    group.add_argument(
        "--format", choices=get_args(AnnotationFormat), help="their format (default: told by the content)"
    )
    group.add_argument(
        "--joint-order",
        type=option_type(parse_joint_order),
        metavar="NAME|LIST",
        help="order of their joints: coco, mano, interhand, ..., or 21 numbers (default: names or ours)",
    )
    line = "of hands of which they do not say it; an index takes none of unknown side"
    group.add_argument("--side", choices=get_args(Side), help=line)
    group.add_argument(
        "--min-joints",
        type=int,
        default=DEFAULT_MIN_JOINTS,
        metavar="N",
        help=f"leave out hands with fewer labelled joints (default: {DEFAULT_MIN_JOINTS})",
    )
    group.add_argument(
        "--boxes", action="store_true", help="find the joints of hands that are boxes without keypoints"
    )
    group.add_argument(
        "--no-pictures", action="store_true", help="keypoints alone: no image is opened, hands have no crop"
    )


def read_annotation_options(options: argparse.Namespace) -> AnnotationOptions:
    """Raises HandsimError for values that do not go together."""
    return AnnotationOptions(
        format=options.format,
        joint_order=options.joint_order,
        side=options.side,
        boxes=options.boxes,
        pictures=not options.no_pictures,
        min_joints=options.min_joints,
    )
