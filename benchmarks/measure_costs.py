"""Measuring what this machine does a second on the way from files to mined pairs, and in which memory."""

import io
import platform
import tarfile
import tempfile
import tracemalloc
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.clock import Clock
from benchmarks.pool import write
from benchmarks.video_poses import VideoPoses
from handsim.detection import DetectorOptions, fetch_model, open_detector
from handsim.images import encode_jpeg
from handsim.ingest import IngestOptions
from handsim.ingest.known import KnownItems
from handsim.ingest.plan import plan_ingest
from handsim.ingest.report import Findings
from handsim.ingest.tar_items import tar_items
from handsim.ingest.worker import process_item
from handsim.pool import Pool, PoolWriter
from handsim.pool.merge import merge
from handsim.processes import available_cores
from handsim.synthetic import SyntheticConfig, ViewConfig, synthesise, synthesise_labelled
from handsim.videos import sample_frames

_COMMAND: Final = "python -m benchmarks.scale --measure"
_POSES: Final = 100_000
_HANDS: Final = 30_000
_CROPS: Final = 2_000
_FILES: Final = 5_000


def measure() -> dict[str, dict[str, Any]]:
    """The figures by their names, each with unit, machine and command."""
    machine = f"{available_cores()} cores, {platform.machine()}"
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        figures = {
            **_decoding(work / "video"),
            **_detection(work / "photos"),
            **_planning(work / "files"),
            **_pool(work / "pools"),
            **_index(work / "index"),
        }
    return {
        name: {"value": float(f"{value:.3g}"), "unit": unit, "machine": machine, "command": _COMMAND}
        for name, (value, unit) in figures.items()
    }


Figures = dict[str, tuple[float, str]]


def _decoding(folder: Path) -> Figures:
    """One frame a second of a minute of 1280x720 at 30 frames a second, H.264."""
    folder.mkdir()
    path = folder / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    still = np.kron(noise, np.ones((8, 8, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(1800):
            frame = av.VideoFrame.from_ndarray(np.roll(still, 3 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with Clock() as clock:
        frames = sum(1 for _ in sample_frames(path, 1, 0, None))
    return {"frames_decoded": (frames / clock.processor_seconds, "frames/s of a core (720p30, 1 a second)")}


def _detection(folder: Path) -> Figures:
    """Pictures of one rendered hand from the file to the crop, without writing it to a pool: crops, and whole
    frames, with the whole search and with one look."""
    crops = [
        image
        for samples in islice(synthesise(SyntheticConfig(videos=8, size_px=224)), 8)
        for image in samples.images
    ]
    view = ViewConfig(picture_px=(1280, 720))
    frames = [picture.image for picture in synthesise_labelled(SyntheticConfig(videos=2, view=view))]
    rate, crop_bytes = _detection_rate(folder / "crops", crops)
    frame_rate, _ = _detection_rate(folder / "frames", frames)
    quick_rate, _ = _detection_rate(folder / "quick", frames, quick=True)
    return {
        "crops_detected": (rate, "pictures/s of a core (224 x 224, one hand)"),
        "frames_detected": (frame_rate, "pictures/s of a core (1280 x 720, one hand)"),
        "frames_detected_quick": (quick_rate, "pictures/s of a core (1280 x 720, one hand, `--quick`)"),
        "crop_bytes": (crop_bytes, "bytes a hand"),
    }


def _detection_rate(
    folder: Path, images: Sequence[NDArray[np.uint8]], *, quick: bool = False
) -> tuple[float, float]:
    """Pictures a second of a core, and bytes of a crop."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(image))
    items = plan_ingest([folder], IngestOptions()).files
    detector = open_detector(DetectorOptions(mediapipe_model=fetch_model().path, quick=quick))
    process_item(items[0], detector)
    with Clock() as clock:
        results = [process_item(item, detector) for item in items]
    detector.close()
    crops = [crop for result in results for _, crop in result.hands if crop is not None]
    return len(items) / clock.processor_seconds, sum(map(len, crops)) / max(1, len(crops))


def _planning(folder: Path) -> Figures:
    """Pictures of 20 KB in folders, and the same number in a tar."""
    picture = encode_jpeg(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8))
    for number in range(_FILES):
        path = folder / "files" / f"{number // 100}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for number in range(_FILES):
            member = tarfile.TarInfo(f"{number // 100}/{number}.jpg")
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
    with Clock() as listing:
        plan_ingest([folder / "files"], IngestOptions())
    tracemalloc.start()
    plan = plan_ingest([folder / "files"], IngestOptions())
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan.files) == _FILES
    (packed,) = plan_ingest([folder / "a.tar"], IngestOptions()).tars
    with Clock() as scanning:
        members = sum(1 for _ in tar_items(packed, IngestOptions(), KnownItems(), Findings()))
    return {
        "pictures_planned": (_FILES / listing.processor_seconds, "files/s of one process"),
        "tar_members_scanned": (members / scanning.processor_seconds, "members/s of one process"),
        "plan_memory": (memory / _FILES, "bytes a picture"),
    }


def _pool(folder: Path) -> Figures:
    """Writing, opening and merging pools; the crops are those of `benchmarks.pool`."""
    with Clock() as writing:
        write(folder / "crops", _CROPS, crops=True)
    write(folder / "poses", _HANDS, crops=False)
    tables = sum(path.stat().st_size for path in (folder / "poses").rglob("*.parquet"))
    with Clock() as merging:
        merge(folder / "merged", folder / "poses")
    tracemalloc.start()
    pool = Pool.open(folder / "poses")
    pool_memory, _ = tracemalloc.get_traced_memory()
    pool.close()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    with PoolWriter(folder / "poses"):
        writer_memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {
        "hands_written": (_CROPS / writing.processor_seconds, "hands/s of one writer, with crops"),
        "hands_merged": (_HANDS / merging.processor_seconds, "hands/s of one process"),
        "table_bytes": (tables / _HANDS, "bytes a hand"),
        "pool_memory": (pool_memory / _HANDS, "bytes a hand"),
        "writer_memory": (writer_memory / _HANDS, "bytes a hand"),
    }


def _index(folder: Path) -> Figures:
    """Embedding poses; the index itself is measured by `benchmarks.index`."""
    poses = VideoPoses.make(_POSES, seed=0)
    with Clock() as embedding:
        poses.embedding.transform(poses.keypoints)
    return {"hands_embedded": (_POSES / embedding.processor_seconds, "hands/s of a core")}
