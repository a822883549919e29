"""People's own keypoints and boxes, in the formats of the field: see the modules, one for each format."""

from handsim.annotations.annotated_hand import (
    AnnotatedHand,
    Annotation,
    AnnotationFormat,
    AnnotationOptions,
    BadAnnotation,
    OwnHand,
)
from handsim.annotations.formats import AnnotationFile
from handsim.annotations.joint_orders import parse_joint_order

__all__ = [
    "AnnotatedHand",
    "Annotation",
    "AnnotationFile",
    "AnnotationFormat",
    "AnnotationOptions",
    "BadAnnotation",
    "OwnHand",
    "parse_joint_order",
]
