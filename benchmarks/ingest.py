"""How busy ingest keeps its workers: its rate beside that of bare detection, in one run, as JSON.

    python -m benchmarks.ingest [--photos DIR] [--workers N]

The ceiling is N times what one process detects on pictures already decoded, cropping, encoding and
writing left out. With N processes at once the cores share their caches and memory, so what N bare
processes reach together is told too.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from functools import partial
from pathlib import Path

from handsim.detection import DetectorOptions, fetch_model, open_detector
from handsim.images import decode_image, encode_jpeg, read_file
from handsim.ingest import IngestReport, ingest
from handsim.processes import available_cores
from handsim.synthetic import SyntheticConfig, synthesise

SUFFIXES = (".jpg", ".jpeg", ".png")


def bare_rate(photos: list[Path], model: Path) -> float:
    """Pictures a second of one process that only detects."""
    images = [decode_image(read_file(photo)) for photo in photos]
    detector = open_detector(DetectorOptions(mediapipe_model=model))
    detector.detect(images[:1])
    started = time.perf_counter()
    for image in images:
        detector.detect([image])
    return len(images) / (time.perf_counter() - started)


def ingest_rate(folder: Path, model: Path, workers: int) -> tuple[float, float]:
    """Pictures a second of an ingest: from the first result to the last, and over all, start-up included."""
    seen: list[tuple[float, int]] = []

    def told(report: IngestReport) -> None:
        seen.append((time.perf_counter(), report.done_now))

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as pool:
        make_detector = partial(open_detector, DetectorOptions(mediapipe_model=model))
        ingest([folder], Path(pool) / "pool", make_detector, workers=workers, progress=told)
    (first, done_first), (last, done_last) = seen[0], seen[-1]
    return (done_last - done_first) / (last - first), done_last / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of photographs (default: 600 synthetic ones)")
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()
    model = fetch_model().path
    with tempfile.TemporaryDirectory() as made:
        folder = options.photos or Path(made)
        if options.photos is None:
            for samples in synthesise(SyntheticConfig(videos=30, size_px=224)):
                for row, image in enumerate(samples.images):
                    (folder / f"{samples.video[row]}_{row}.jpg").write_bytes(encode_jpeg(image))
        photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        alone = bare_rate(photos, model)
        with multiprocessing.get_context("spawn").Pool(options.workers) as processes:
            together = sum(processes.starmap(bare_rate, [(photos, model)] * options.workers))
        steady, overall = ingest_rate(folder, model, options.workers)
    print(
        json.dumps(
            {
                "pictures": len(photos),
                "workers": options.workers,
                "bare_one_process_per_s": round(alone, 1),
                "bare_all_processes_per_s": round(together, 1),
                "ingest_per_s": round(steady, 1),
                "ingest_with_start_up_per_s": round(overall, 1),
                "share_of_workers_times_one": round(steady / (options.workers * alone), 3),
                "share_of_all_bare_processes": round(steady / together, 3),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
