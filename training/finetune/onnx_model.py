"""An exported estimator in use: an ONNX file, run by ONNX Runtime and without torch.

The file says itself how to use it (`OnnxRecord`, under the key ``handsim`` of its metadata). Its network
takes RGB crops in 0..1 and normalises them itself, and gives joints, not maps: any language can use it.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.detection.onnx import first_words, open_session
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import crop_affine
from handsim.processes import available_cores
from training.finetune.pose_model import CropSettings, PoseModel

METADATA_KEY: Final = "handsim"
FORMAT: Final = 1
IMAGES: Final = "images"
INTRINSICS: Final = "intrinsics"
"""Names of the inputs."""
ESTIMATOR_OUTPUTS: Final = ("keypoints", "joints_mm", "confidence")


@dataclass(frozen=True)
class OnnxRecord:
    """What an exported file says of its network, for people and for `OnnxPoseModel`."""

    kind: Literal["encoder", "estimator"]
    architecture: str
    size_px: int
    """Side of the crops that it takes."""
    crop_factor: float
    """Side of a crop's square, in longer sides of the box around the hand's 2D joints."""
    inputs: dict[str, str]
    """What each input holds."""
    outputs: dict[str, str]
    """What each output holds, with its units and frame."""
    source: str
    """What it was exported from."""
    head: str | None = None
    """Of an estimator."""
    mean_bone_mm: float | None = None
    """Length of the reference bone that an estimator gives every hand."""
    joints: tuple[str, ...] = ()
    """An estimator's joints, in the order of its outputs."""

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str, path: Path) -> "OnnxRecord":
        """Raises HandsimError for a later format or a damaged text of the file ``path``."""
        try:
            values = json.loads(text)
            number = int(values.pop("format"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HandsimError(f"the metadata of {path} are damaged ({error}); export it again") from error
        if number > FORMAT:
            raise HandsimError(f"{path} has format {number}, this handsim reads up to {FORMAT}; upgrade it")
        known = {field.name for field in fields(cls)}
        try:
            values["joints"] = tuple(values.get("joints", ()))
            return cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise HandsimError(f"the metadata of {path} are damaged ({error}); export it again") from error


class OnnxPoseModel(PoseModel):
    """An estimator in an ONNX file that `handsim export` wrote."""

    record: OnnxRecord

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises NotThereError where there is none, HandsimError for one that is no exported estimator, and
        ModuleNotFoundError without onnxruntime.
        """
        if not path.is_file():
            raise NotThereError(
                f"there is no file {path}; give one that `handsim export --format onnx` wrote"
            )
        self._path = path
        self._session = open_session(path, available_cores())
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise HandsimError(
                f"{path} does not say how it is used, as files of `handsim export --format onnx` do; export "
                f"the run again"
            )
        self.record = OnnxRecord.from_json(text, path)
        if self.record.kind != "estimator":
            raise HandsimError(
                f"{path} is an {self.record.kind}, which gives features and no poses; export a run of "
                f"`handsim finetune`"
            )

    @property
    def crop(self) -> CropSettings:
        """How to cut hands out of their pictures for it."""
        return CropSettings(self.record.crop_factor, self.record.size_px)

    @property
    def needs_camera(self) -> bool:
        """Whether it takes K."""
        return INTRINSICS in self.record.inputs

    def estimate_crops(
        self,
        crops: NDArray[np.uint8],
        squares_px: NDArray[np.float64],
        intrinsics: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """See `PoseModel`."""
        feeds: dict[str, Any] = {IMAGES: np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / 255}
        if self.needs_camera:
            if intrinsics is None:
                raise HandsimError(
                    f"{self._path} needs the camera's K for a pose, and none is given; give it"
                )
            to_crop = [np.vstack([crop_affine(square, size=1.0), [0, 0, 1]]) for square in squares_px]
            feeds[INTRINSICS] = (np.stack(to_crop) @ intrinsics).astype(np.float32)
        try:
            keypoints, joints_mm, confidence = self._session.run(list(ESTIMATOR_OUTPUTS), feeds)
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise HandsimError(
                f"the network {self._path} fails on {len(crops)} crops of {crops.shape[1]} pixels: "
                f"{first_words(error)}"
            ) from error
        return keypoints, joints_mm, confidence
