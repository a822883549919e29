"""How fast keypoints without pictures go into a pool, as JSON: COCO-WholeBody persons, with both their hands.

    python -m benchmarks.annotations [--persons 100000] [--seed 0]

The file is made first, in the layout and with all the fields of the published one. The import runs in a
process of its own: its processor seconds are counted, all processes together, and its peak memory.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from handsim.annotations import AnnotationOptions
from handsim.ingest import IngestOptions, ingest
from handsim.processes import module_command

PERSONS_PER_PICTURE = 2
SIZE_PX = (640, 480)
PARTS = {"foot": 6, "face": 68, "lefthand": 21, "righthand": 21}


def write_persons(path: Path, persons: int, seed: int) -> None:
    """Write a file of COCO-WholeBody whose persons have both hands."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "width": SIZE_PX[0], "height": SIZE_PX[1]}
        for number in range(-(-persons // PERSONS_PER_PICTURE))
    ]
    with path.open("w") as file:
        file.write(f'{{"info": {{}}, "images": {json.dumps(images)}, "annotations": [')
        for number in range(persons):
            file.write((", " if number else "") + json.dumps(make_person(rng, number)))
        file.write('], "categories": [{"id": 1, "name": "person"}]}')


def make_person(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """One annotation with random joints."""
    person: dict[str, Any] = {
        "id": number,
        "image_id": number // PERSONS_PER_PICTURE,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [20.0, 20.0, 600.0, 440.0],
        "keypoints": rng.integers(0, 480, 51).tolist(),
    }
    for part, joints in PARTS.items():
        corner = rng.uniform(20, 300, 2)
        points = np.column_stack([corner + rng.uniform(0, 90, (joints, 2)), rng.uniform(0.3, 1, joints)])
        person[f"{part}_kpts"] = points.round(4).ravel().tolist()
        person[f"{part}_valid"] = True
        person[f"{part}_box"] = [*corner.round(2).tolist(), 90.0, 90.0]
    return person


def measure_import(path: str, pool: str) -> None:
    """Import and print the figures; run in a process of its own."""
    options = IngestOptions(annotations=AnnotationOptions(pictures=False))
    started = time.perf_counter()
    report = ingest([path], pool, make_no_detector, options)
    seconds = time.perf_counter() - started
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor_seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    figures = {
        "hands": report.hands_new,
        "skipped": len(report.skipped),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor_seconds, 1),
        "hands_per_processor_second": round(report.hands_new / processor_seconds),
        "peak_memory_mb": round(max(usage.ru_maxrss for usage in usages) / 1024),
    }
    print(json.dumps(figures))


def make_no_detector() -> Any:
    """Keypoints are read without one."""
    raise AssertionError("no detector is needed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--persons", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", nargs=2, metavar=("JSON", "POOL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_import(*options.measure)
        return
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "persons.json"
        write_persons(file, options.persons, options.seed)
        command = module_command("benchmarks.annotations", "--measure", str(file), str(Path(made) / "pool"))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        figures = {
            "persons": options.persons,
            "file_mb": round(file.stat().st_size / 1e6),
            **json.loads(done.stdout),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
