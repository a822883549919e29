"""What Ray costs an ingest: the same photographs with two local processes and with two workers of a cluster.

    python -m benchmarks.ray_overhead ../shared/data/sign_digits [--quick]

By turns, since a machine is never equally quiet: ``local`` processes; ``standing``, a cluster that `ray
start` has started before; ``own``, one that is started for the run (``--ray auto`` where none is). Printed as
JSON are, for each turn, the seconds until the first result, from the hundredth picture to the last but twenty
(then all workers are at work), and of all; and the seconds that cores were busy with it, Ray's own processes
with them, which other work on the machine changes less.
"""

import argparse
import ctypes
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import psutil
from PIL import Image

from handsim.cluster import ClusterOptions
from handsim.detection import DetectorOptions, fetch_model, open_detector
from handsim.ingest import IngestReport, ingest
from handsim.processes import module_command

_WORKERS: Final = 2
_PR_SET_CHILD_SUBREAPER: Final = 36


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one look at each picture")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    # What Ray's processes leave behind becomes ours, so that its time is counted.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    detector = DetectorOptions(mediapipe_model=fetch_model().path, quick=options.quick)
    with tempfile.TemporaryDirectory() as made:
        folder = _copy_photos(options.photos, options.pictures, Path(made) / "photos")
        for turn in range(options.turns):
            _report("local", folder, detector, Path(made) / f"local-{turn}", None)
            with _standing_cluster() as cluster:
                _report("standing", folder, detector, Path(made) / f"standing-{turn}", cluster)
            _report("own", folder, detector, Path(made) / f"own-{turn}", ClusterOptions("auto"))


def _copy_photos(source: Path, count: int, folder: Path) -> Path:
    """So many pictures, none equal to another: each time round they are compressed a little more."""
    folder.mkdir()
    photos = sorted(source.rglob("*.[jJ][pP][gG]"))
    for number in range(count):
        with Image.open(photos[number % len(photos)]) as image:
            image.save(folder / f"{number}.jpg", quality=95 - number // len(photos))
    return folder


@contextmanager
def _standing_cluster() -> Iterator[ClusterOptions]:
    """A cluster of one node, that has stood for some seconds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = module_command("ray.scripts.scripts", "start", "--head", "--include-dashboard=false")
    this = psutil.Process()
    before = set(this.children())
    subprocess.run(
        [*command, f"--port={port}", f"--num-cpus={_WORKERS}"], check=True, stdout=subprocess.DEVNULL
    )
    time.sleep(5)
    yield ClusterOptions(f"127.0.0.1:{port}")
    # Not `ray stop`, which ends every cluster of this machine. Its daemons are this process's children now.
    started = [
        child for mine in set(this.children()) - before for child in (mine, *mine.children(recursive=True))
    ]
    for process in started:
        process.kill()
    psutil.wait_procs(started)


def _report(
    name: str, folder: Path, detector: DetectorOptions, pool: Path, cluster: ClusterOptions | None
) -> None:
    """Print the seconds of the parts of one ingest."""
    busy_before_s, started_s = _busy_seconds(), time.monotonic()
    done_s: list[float] = []

    def note(report: IngestReport) -> None:
        done_s.append(time.monotonic() - started_s)

    ingest([folder], pool, partial(open_detector, detector), workers=_WORKERS, cluster=cluster, progress=note)
    all_s = time.monotonic() - started_s
    parts = {"start": done_s[0], "at_work": done_s[-20] - done_s[100], "all": all_s}
    parts["busy"] = _busy_seconds() - busy_before_s
    rounded = {part: round(seconds, 1) for part, seconds in parts.items()}
    print(json.dumps({"workers": name, **rounded}), flush=True)


def _busy_seconds() -> float:
    """Seconds that cores were busy with this process and all that it has started."""
    this = psutil.Process()
    seconds = 0.0
    for process in [this, *this.children(recursive=True)]:
        times = process.cpu_times()
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


if __name__ == "__main__":
    main()
