"""Hands, detections, detectors, pictures, videos, pools and limits, for the tests of `handsim`."""

import os
import resource
import signal
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim import Hand, HandsimError, Pool, PoolWriter
from handsim.detection import Detection
from handsim.hand import Side, make_hand_id
from handsim.images import encode_jpeg
from handsim.metrics.alignment import PoseComparison
from handsim.skeleton import JOINT_COUNT

CROP_PX = 32


def picture(number: int, size: int = CROP_PX) -> NDArray[np.uint8]:
    """Broad blotches of colour, RGB [size, size, 3]; every number has its own."""
    rng = np.random.default_rng(number)
    blotches = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(blotches, np.ones((size // 4, size // 4, 1), dtype=np.uint8))


def write_picture_pool(path: Path, numbers: Iterable[int], with_crops: bool = True) -> Pool:
    """Add the hands of `make_hand` to the pool at ``path``, with small pictures, and open it."""
    with PoolWriter(path, crop_size_px=CROP_PX) as writer:
        for number in numbers:
            writer.add(make_hand(number), encode_jpeg(picture(number)) if with_crops else None)
    return Pool.open(path)


@contextmanager
def limited(what: int, soft: int) -> Iterator[None]:
    """Run with the soft limit ``soft`` on a resource of this process (`resource.RLIMIT_NOFILE`, ...)."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def make_hand(number: int, **changes: object) -> Hand:
    """A hand; every number has its own id and keypoints, and five numbers in a row are of one video."""
    video = f"v{number // 5}"
    rng = np.random.default_rng(number)
    fields = {
        "hand_id": make_hand_id("test", video, number, 0),
        "source": "test",
        "video": video,
        "frame": number,
        "side": "left" if number % 3 == 0 else "right",
        "score": 0.5,
        "box_px": rng.random(4, dtype=np.float32),
        "keypoints": rng.random((21, 3), dtype=np.float32),
        "label": None if number % 2 else f"shape {number % 4}",
        "file": f"photos/{number}.jpg",
    }
    return Hand(**{**fields, **changes})  # type: ignore[arg-type]  # fields are given by name


def make_partial_hand(number: int, unlabelled: Sequence[int], **changes: object) -> Hand:
    """The hand of `make_hand`, without some of its joints."""
    keypoints = make_hand(number).keypoints.copy()
    keypoints[list(unlabelled)] = np.nan
    return make_hand(number, keypoints=keypoints, **changes)


def make_jpeg(number: int) -> bytes:
    """A picture of one colour, whose red is the number."""
    return encode_jpeg(np.full((224, 224, 3), (number % 256, 90, 10), dtype=np.uint8))


def add_hands(path: Path, numbers: Iterable[int], *, crops: bool = True, part_hands: int = 8192) -> Path:
    """Add the hands of `make_hand` to the pool at ``path``, with their pictures; returns the path."""
    with PoolWriter(path, part_hands=part_hands) as writer:
        for number in numbers:
            writer.add(make_hand(number), make_jpeg(number) if crops else None)
    return path


def make_detection(
    x0: float, y0: float, x1: float, y1: float, *, score: float = 0.9, side: Side = "right"
) -> Detection:
    """A detection whose keypoints, random inside, fill exactly that box."""
    unit = np.random.default_rng(7).uniform(size=(21, 3))
    unit[1, :2], unit[2, :2] = 0.0, 1.0
    unit[:, 2] -= unit[0, 2]
    keypoints = unit * (x1 - x0, y1 - y0, x1 - x0) + (x0, y0, 0.0)
    return Detection(side, score, keypoints.astype(np.float32))


class BrightnessDetector:
    """Finds one hand in every picture that is not black; its keypoints depend on the picture's brightness.

    A pure red picture kills the process, as a broken decoder would.
    """

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        return [self.detect_in(picture) for picture in pictures]

    def detect_in(self, image: NDArray[np.uint8]) -> list[Detection]:
        red, green, _ = image.reshape(-1, 3).mean(axis=0)
        if red > 240 and green < 15:
            os.kill(os.getpid(), signal.SIGKILL)
        if image.mean() < 8:
            return []
        height, width = image.shape[:2]
        around = np.linspace(0, 2 * np.pi, 21, endpoint=False)
        size = 0.1 + 0.3 * image.mean() / 255
        points = np.stack(
            [width * (0.5 + size * np.cos(around)), height * (0.5 + size * np.sin(around)), 0 * around], 1
        )
        return [Detection("right", 0.9, points.astype(np.float32))]

    def close(self) -> None: ...


class SturdyDetector(BrightnessDetector):
    """Finds nothing in a pure red picture, and lives on."""

    def detect_in(self, image: NDArray[np.uint8]) -> list[Detection]:
        return [] if image[..., 1].mean() < 15 else super().detect_in(image)


def make_no_detector() -> BrightnessDetector:
    raise HandsimError("the hand model is not on this computer yet")


def kill_own_process() -> BrightnessDetector:
    os.kill(os.getpid(), signal.SIGKILL)
    return BrightnessDetector()


def write_picture(path: Path, level: int | tuple[int, int, int]) -> None:
    """A picture of one grey level or colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (level, level, level) if isinstance(level, int) else level
    Image.new("RGB", (64, 64), colour).save(path)


def write_pictures(folder: Path, people: int = 3, each: int = 4) -> Path:
    """Pictures ``p<person>/<number>.png``, every one of another grey level; returns the folder."""
    for person in range(people):
        for number in range(each):
            write_picture(folder / f"p{person}" / f"{number}.png", 40 + 40 * number + person)
    return folder


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG header for a picture of any size, without the pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def write_video(path: Path, codec: str = "mpeg4", *, seconds: int = 10, rate: int = 30) -> Path:
    """A video whose frame i is grey level i / 2."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(seconds * rate):
            container.mux(stream.encode(_grey_frame(number // 2 % 256)))
        container.mux(stream.encode())
    return path


def write_slides(path: Path, starts_ms: Sequence[int], end_ms: int) -> Path:
    """A video of variable rate: frame i, of grey level 40 i, is shown from its start to the next one's."""
    lengths_ms = dict(zip(starts_ms, np.diff([*starts_ms, end_ms]).tolist(), strict=True))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number, start_ms in enumerate(starts_ms):
            frame = _grey_frame(40 * number)
            frame.pts, frame.time_base = start_ms, Fraction(1, 1000)
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode()]:
            assert packet.pts is not None
            packet.duration = lengths_ms[packet.pts]
            container.mux(packet)
    return path


def _grey_frame(level: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")


def random_hands(seed: int, count: int = 6, valid_share: float = 1.0) -> PoseComparison:
    """Hands without any structure, as far from the camera as FreiHAND's; predictions a few cm off.

    Each joint is valid with a chance of ``valid_share``; the truth is NaN where it is not.
    """
    random = np.random.default_rng(seed)
    true = random.normal(0, 40, (count, JOINT_COUNT, 3)) + random.normal((0, 0, 700), 50, (count, 1, 3))
    predicted = true + random.normal(0, 12, true.shape) + random.normal(0, 20, (count, 1, 3))
    valid = random.random((count, JOINT_COUNT)) < valid_share
    true[~valid] = np.nan
    return PoseComparison(predicted, true, valid)
