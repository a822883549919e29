"""What Ray costs an ingest: the same photographs with two local processes and with two workers of a cluster.

    python -m benchmarks.ray_overhead ../shared/data/sign_digits

By turns, since a machine is never equally quiet. Printed as JSON are the seconds of each turn, from the start
to the first result, and from the hundredth picture to the last but twenty: then all workers are at work.
"""

import argparse
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from PIL import Image

from handsim.cluster import ClusterOptions
from handsim.detection import DetectorOptions, fetch_model, open_detector
from handsim.ingest import IngestReport, ingest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as made:
        folder = _copy_photos(options.photos, options.pictures, Path(made) / "photos")
        for turn in range(options.turns):
            for name, cluster in (("local", None), ("ray", ClusterOptions("auto"))):
                seconds = _time(folder, Path(made) / f"{name}-{turn}", cluster)
                print(json.dumps({"workers": name, **seconds}), flush=True)


def _copy_photos(source: Path, count: int, folder: Path) -> Path:
    """So many pictures, none equal to another: each time round they are compressed a little more."""
    folder.mkdir()
    photos = sorted(source.rglob("*.[jJ][pP][gG]"))
    for number in range(count):
        with Image.open(photos[number % len(photos)]) as image:
            image.save(folder / f"{number}.jpg", quality=95 - number // len(photos))
    return folder


def _time(folder: Path, pool: Path, cluster: ClusterOptions | None) -> dict[str, float]:
    """Seconds of the parts of one ingest."""
    started_s = time.monotonic()
    done_s: list[float] = []

    def note(report: IngestReport) -> None:
        done_s.append(time.monotonic() - started_s)

    detector = DetectorOptions(mediapipe_model=fetch_model().path, quick=True)
    ingest([folder], pool, partial(open_detector, detector), workers=2, cluster=cluster, progress=note)
    all_s = time.monotonic() - started_s
    parts = {"start": done_s[0], "at_work": done_s[-20] - done_s[100], "all": all_s}
    return {name: round(seconds, 1) for name, seconds in parts.items()}


if __name__ == "__main__":
    main()
