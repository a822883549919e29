"""How fast a pool opens and its crops are read, as JSON.

python -m benchmarks.pool [--hands 2000000] [--crops 5000]
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from handsim.hand import Hand, make_hand_id
from handsim.images import encode_jpeg
from handsim.pool import Pool, PoolWriter

VIDEO_HANDS = 20
OPEN = "import sys; from benchmarks.pool import measure_open; measure_open(sys.argv[1])"


def write(path: Path, count: int, *, crops: bool) -> float:
    """Write a pool of ``count`` hands with random keypoints, with or without pictures; hands a second."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (64, 28, 28, 3), dtype=np.uint8).reshape(-1, 28, 3))
    sheets = np.asarray(smooth.resize((224, 64 * 224))).reshape(64, 224, 224, 3)
    jpegs = [encode_jpeg(sheet) for sheet in sheets]
    started = time.perf_counter()
    with PoolWriter(path) as writer:
        for number in range(count):
            video, frame = f"{number // VIDEO_HANDS:06d}", number % VIDEO_HANDS
            hand = Hand(
                hand_id=make_hand_id("benchmark", video, frame, 0),
                source="benchmark",
                video=video,
                frame=frame,
                side="right",
                score=1.0,
                box_px=np.zeros(4, np.float32),
                keypoints=rng.random((21, 3), dtype=np.float32),
                file=f"videos/{video}.mp4",
            )
            writer.add(hand, jpegs[number % len(jpegs)] if crops else None)
    return count / (time.perf_counter() - started)


def measure_open(path: str) -> None:
    """Open a pool and print seconds and peak memory; run in a process of its own."""
    started = time.perf_counter()
    pool = Pool.open(path)
    seconds = time.perf_counter() - started
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"hands": len(pool), "open_s": round(seconds, 2), "peak_memory_gb": round(peak_gb, 2)}))


def crop_rates(pool: Pool) -> tuple[float, float]:
    """Crops a second, random access by id and decoded, beside decoding the same JPEGs from memory."""
    ids = np.random.default_rng(1).permutation(pool.hand_ids).tolist()
    jpegs = [pool.crop_jpeg(hand_id) for hand_id in ids]
    read_s = decode_s = 0.0
    for start in range(0, len(ids), 100):  # by turns, so that both meet the same noise
        begun = time.perf_counter()
        for hand_id in ids[start : start + 100]:
            pool.crop(hand_id)
        middle = time.perf_counter()
        for jpeg in jpegs[start : start + 100]:
            np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        read_s += middle - begun
        decode_s += time.perf_counter() - middle
    return len(ids) / read_s, len(ids) / decode_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=2_000_000)
    parser.add_argument("--crops", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        written = write(Path(made) / "poses", options.hands, crops=False)
        opened = subprocess.run(
            [sys.executable, "-c", OPEN, str(Path(made) / "poses")],
            capture_output=True,
            text=True,
            check=True,
        )
        written_crops = write(Path(made) / "crops", options.crops, crops=True)
        random_rate, bare_rate = crop_rates(Pool.open(Path(made) / "crops"))
    figures = {
        **json.loads(opened.stdout),
        "written_per_s": round(written),
        "written_with_crops_per_s": round(written_crops),
        "random_crops_per_s": round(random_rate),
        "bare_decoding_per_s": round(bare_rate),
        "share_of_bare_decoding": round(random_rate / bare_rate, 3),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
