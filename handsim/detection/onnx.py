"""Networks in ONNX files that look at pictures, run by ONNX Runtime: on a GPU where it has one, or one core.

onnxruntime (`pip install handsim[onnx]`) is imported when the first network is opened. Its errors have no
class in common but Exception, hence the broad clauses; each holds one call.
"""

import hashlib
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_PROVIDERS: Final = ("CUDAExecutionProvider", "ROCMExecutionProvider", "CPUExecutionProvider")
"""What computes, in order of preference; the onnxruntime package that is installed has some of them."""
MAX_BATCH: Final = 16
"""Pictures in one call of a network that takes any number. RTMPose-m's takes 15 MB of memory for each; on one
core they cost as much together as alone (56 ms each, whether 1 or 32)."""
_FREE_SIZE_PX: Final = 320
"""Height and width of what a network sees that takes any: those of the published hand detector."""
_TYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxNetwork:
    """A network that takes pictures [N, 3, H, W], already normalised, as its only input.

    Opening it runs it once on empty pictures, so that a network that cannot be used is told before work
    begins. Raises NotThereError for a missing file, HandsimError for one that is no such network or that this
    ONNX Runtime cannot run, and ModuleNotFoundError without onnxruntime.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = _checksum(path)
        self._session: InferenceSession | None = open_session(path)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or shape[1] != 3 or inputs[0].type not in _TYPES:
            raise self.refuse(
                "takes " + " and ".join(f"{each.name} {each.type} {each.shape}" for each in inputs),
                "a network for pictures takes one float [N, 3, height, width]",
            )
        self._input, self._dtype = inputs[0].name, _TYPES[inputs[0].type]
        batch, _, height, width = (size if isinstance(size, int) and size > 0 else None for size in shape)
        self._fixed_batch = batch
        self.height, self.width = height or _FREE_SIZE_PX, width or _FREE_SIZE_PX
        # Two, because a network may say that it takes any number and hold a shape for one.
        self.trial = self.run(np.zeros((batch or 2, 3, self.height, self.width), dtype=np.float32))
        """What it answers for empty pictures: its shapes tell what the network is for."""

    @property
    def max_batch(self) -> int:
        """How many pictures `run` takes at once."""
        return self._fixed_batch or MAX_BATCH

    def run(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs, each [N, ...], for pictures [N, 3, H, W], N at most `max_batch`.

        Raises HandsimError where the network fails or answers NaN or infinity.
        """
        if self._session is None:
            raise ValueError("this detector is closed")
        count = len(pictures)
        if self._fixed_batch is not None and count < self._fixed_batch:
            pictures = np.concatenate(
                [pictures, np.zeros((self._fixed_batch - count, *pictures.shape[1:]), pictures.dtype)]
            )
        try:
            outputs = self._session.run(None, {self._input: pictures.astype(self._dtype, copy=False)})
        except Exception as error:
            raise HandsimError(
                f"the network {self.path} fails on pictures {list(pictures.shape)}: {first_words(error)}"
            ) from error
        for output in outputs:
            shape = list(getattr(output, "shape", ()))  # sequences and maps have none
            if len(shape) < 2 or shape[0] != len(pictures) or output.dtype.kind not in "fi":
                raise self.refuse(f"answers {shape} to {list(pictures.shape)}", "each picture needs a row")
        if not all(np.isfinite(output).all() for output in outputs):
            raise HandsimError(f"the network {self.path} answers NaN or infinity; give one that is sound")
        return [output[:count].astype(np.float32, copy=False) for output in outputs]

    def refuse(self, what: str, bound: str) -> HandsimError:
        """The error to raise for a network that is none of ours."""
        return HandsimError(
            f"the network {self.path} {what}; {bound} (the section rtmpose of docs/detectors.md says which)"
        )

    def close(self) -> None:
        """Release the network; calling it twice is harmless."""
        self._session = None


def _checksum(path: Path) -> str:
    """SHA-256 of the file, and of what it keeps its weights in, if that lies beside it (``FILE.data``)."""
    if not path.exists():
        raise NotThereError(f"{path} does not exist; --detector-model takes an ONNX file")
    if path.is_dir():
        raise HandsimError(f"{path} is a folder; --detector-model takes an ONNX file, such as one in it")
    if zipfile.is_zipfile(path):
        raise HandsimError(
            f"{path} is a zip archive; --detector-model takes an ONNX file (that of OpenMMLab's archives is "
            "end2end.onnx in them)"
        )
    weights = path.with_name(path.name + ".data")
    digest = hashlib.sha256()
    try:
        for part in [path, weights] if weights.is_file() else [path]:
            with part.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
    except OSError as error:
        raise HandsimError(f"the network {path} cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def open_session(path: Path, cores: int = 1) -> "InferenceSession":
    """A network of a file, ready to run on a GPU where ONNX Runtime has one, or on so many cores.

    By default one: one detector computes on one core, as MediaPipe's does, and every process of an ingest has
    its own. Raises HandsimError for what is no such file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cores, 1
    options.log_severity_level = 4  # what is wrong is raised; warnings of a network's maker are not for users
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[name for name in _PROVIDERS if name in available]
        )
    except Exception as error:
        raise HandsimError(
            f"ONNX Runtime {onnxruntime.__version__} cannot read the network {path} ({first_words(error)}); "
            "give a whole ONNX file of a version that it knows"
        ) from error


def first_words(error: Exception) -> str:
    """ONNX Runtime's message in one line, without its numbers, the path, and places in its source code."""
    message = " ".join(str(error).split())
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?)?", "", message)
    message = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", message)
    return message[:400].rstrip(" .")
