"""What an ingest makes of damaged pictures, films and annotations (flipped bits, cuts, splices), as JSON.

    python -m benchmarks.damaged_files [--files 1000] [--seed 0]

Sound files lie among the damaged ones, and every hand of them must end in the pool. The detector finds one
hand in whatever it is shown, so only reading is tried. The longest wait is that between two results.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path

import av
import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from handsim import Pool
from handsim.detection import Detection
from handsim.ingest import IngestReport, ingest
from handsim.processes import available_cores

_SIZE = 96
_SAMPLE_S = 0.05


class CircleDetector:
    """Finds one hand in every picture: its joints lie on a circle around the centre."""

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """One right hand in each picture [H, W, 3]."""
        return [[self._circle(picture)] for picture in pictures]

    def _circle(self, image: NDArray[np.uint8]) -> Detection:
        height, width = image.shape[:2]
        angles = np.linspace(0, 2 * np.pi, 21, endpoint=False)
        x, y = (0.5 + 0.3 * np.cos(angles)) * width, (0.5 + 0.3 * np.sin(angles)) * height
        return Detection("right", 0.9, np.stack([x, y, 0 * x], axis=1).astype(np.float32))

    def close(self) -> None:
        """Nothing is held."""


def _picture(number: int) -> Image.Image:
    blotches = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)


def _encoded(number: int, suffix: str) -> bytes:
    """A sound file of a kind: a picture, an animation of three, a film of two seconds, or annotations."""
    buffer = BytesIO()
    if suffix in ("jpg", "png", "bmp", "ppm", "tiff", "webp", "avif"):
        _picture(number).save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    elif suffix == "gif":
        more = [_picture(number + step) for step in (100, 200)]
        _picture(number).save(buffer, "GIF", save_all=True, append_images=more, duration=1000)
    elif suffix in ("json", "jsonl"):
        buffer.write(_annotations(number, suffix))
    else:
        _write_film(buffer, number, suffix)
    return buffer.getvalue()


def _write_film(buffer: BytesIO, number: int, suffix: str) -> None:
    container, codec = {
        "mp4": ("mp4", "libx264"),
        "mkv": ("matroska", "libx264"),
        "webm": ("webm", "libvpx"),
        "avi": ("avi", "mpeg4"),
        "ts": ("mpegts", "mpeg2video"),
    }[suffix]
    with av.open(buffer, "w", format=container) as film:
        stream = film.add_stream(codec, rate=10, options={"g": "5"})
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        for step in range(20):
            pixels = np.asarray(_picture(number + step // 5))
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())


def _annotations(number: int, suffix: str) -> bytes:
    """Ten hands in the picture ``0.jpg`` beside the file."""
    points = np.random.default_rng(number).uniform(20, 70, (10, 21, 2)).round(2)
    if suffix == "jsonl":
        hands = [
            {"image": "0.jpg", "side": "right", "keypoints": one.tolist(), "id": f"{number}-{row}"}
            for row, one in enumerate(points)
        ]
        return "\n".join(json.dumps(hand) for hand in hands).encode()
    names = {"id": 1, "name": "right_hand", "keypoints": [f"joint{joint}" for joint in range(21)]}
    annotations = [
        {
            "id": row,
            "image_id": 1,
            "category_id": 1,
            "bbox": [15, 15, 60, 60],
            "keypoints": np.column_stack([one, np.full(21, 2)]).ravel().tolist(),
        }
        for row, one in enumerate(points)
    ]
    image = {"id": 1, "file_name": "0.jpg", "width": _SIZE, "height": _SIZE}
    return json.dumps({"images": [image], "categories": [names], "annotations": annotations}).encode()


def _damaged(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """A copy with flipped bits, a part cut out or off, or a part of another file in it."""
    damaged = bytearray(data)
    place = chance.randrange(len(data))
    kind = chance.randrange(4)
    if kind == 0:
        for _ in range(chance.choice((1, 8, 64))):
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del damaged[place:]
    elif kind == 2:
        del damaged[place : place + chance.randrange(1, 400)]
    else:
        start = chance.randrange(len(other))
        damaged[place:place] = other[start : start + chance.randrange(1, 2000)]
    return bytes(damaged)


SOUND = [
    f"{number}.{suffix}"
    for suffix in (
        *("jpg", "png", "bmp", "ppm", "tiff", "webp", "avif", "gif"),
        *("mp4", "mkv", "webm", "avi", "ts", "json", "jsonl"),
    )
    for number in range(2)
]


class PeakMemory(threading.Thread):
    """The largest memory (resident) of this process and of any of its children, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.main_mb = self.worker_mb = 0.0
        self.is_over = threading.Event()

    def run(self) -> None:
        """Look every so often until `is_over`."""
        process = psutil.Process()
        while not self.is_over.wait(_SAMPLE_S):
            self.main_mb = max(self.main_mb, process.memory_info().rss / 1e6)
            for child in process.children():
                try:
                    self.worker_mb = max(self.worker_mb, child.memory_info().rss / 1e6)
                except psutil.Error:
                    continue


def write_files(folder: Path, files: int, seed: int) -> None:
    """Sound files in ``sound``, damaged ones in ``damaged``."""
    chance = random.Random(seed)
    sound = {}
    for name in SOUND:
        number, suffix = name.split(".")
        sound[name] = _encoded(int(number), suffix)
        (folder / "sound").mkdir(exist_ok=True)
        (folder / "sound" / name).write_bytes(sound[name])
    (folder / "damaged").mkdir()
    (folder / "damaged" / "0.jpg").write_bytes(sound["0.jpg"])  # which annotations name
    for name, copy in zip(cycle(SOUND), range(files), strict=False):
        data = _damaged(sound[name], sound[chance.choice(SOUND)], chance)
        (folder / "damaged" / f"{copy}_{name}").write_bytes(data)


def timed_ingest(paths: list[Path], pool: Path) -> tuple[IngestReport, float]:
    """The report, and the longest wait for a result in seconds."""
    moments = [time.monotonic()]

    def note_time(_: IngestReport) -> None:
        moments.append(time.monotonic())

    report = ingest(paths, pool, CircleDetector, workers=available_cores(), progress=note_time)
    moments.append(time.monotonic())
    return report, float(np.diff(moments).max())


def main() -> None:
    """Measure and print; exit code 1 where a hand of a sound file is lost or our own code failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(folder, options.files, options.seed)
        ingest([folder / "sound"], folder / "expected", CircleDetector, workers=1)
        memory = PeakMemory()
        memory.start()
        started = time.monotonic()
        report, longest_wait_s = timed_ingest([folder / "sound", folder / "damaged"], folder / "pool")
        seconds = time.monotonic() - started
        memory.is_over.set()
        memory.join()
        expected, found = Pool.open(folder / "expected"), Pool.open(folder / "pool")
        lost = np.setdiff1d(expected.hand_ids, found.hand_ids)
        failures = [skip for skip in report.skipped if skip.reason in ("failed", "crashed a worker")]
        figures = {
            "damaged_files": options.files,
            "sound_files": len(SOUND),
            "seconds": round(seconds, 1),
            "hands_of_sound_files": len(expected),
            "hands_of_sound_files_lost": len(lost),
            "hands": len(found),
            "longest_wait_s": round(longest_wait_s, 1),
            "largest_worker_mb": round(memory.worker_mb),
            "main_process_mb": round(memory.main_mb),
            "failures": [f"{skip.file}: {skip.reason}: {skip.detail}" for skip in failures],
            "reasons": report.reasons(),
        }
    print(json.dumps(figures, indent=1))
    sys.exit(bool(len(lost) or failures))


if __name__ == "__main__":
    main()
