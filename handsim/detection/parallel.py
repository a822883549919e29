"""Looking for hands in many picture files with several processes: one that dies loses its picture alone.

An ingest has workers of its own (`handsim.ingest.workers`), which also cut and encode; here only detections
come back. Each process opens its own detector.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final

import numpy as np

from handsim.detection.detector import Detection, HandDetector, UndetectedError
from handsim.errors import HandsimError, UnusableError
from handsim.images import decode_picture
from handsim.processes import PipeWorker, stop_workers

PATIENCE_S: Final = 50.0
"""So long a process may be silent over one picture before it is ended."""
_WAKE_S: Final = 0.5


@dataclass(frozen=True, eq=False)
class FileDetections:
    """What was found in one picture file."""

    size_px: tuple[int, int] | None = None
    """Width and height of the picture; None where it could not be read."""
    detections: tuple[Detection, ...] = ()
    """In the picture's pixels, best first."""
    failure: str = ""
    """What went wrong: with the file, or, where there is a size or the process ended, with the detector."""
    is_detectors: bool = False
    """Whether the failure is the detector's, not the file's."""


def detect_in_files(
    paths: Sequence[Path],
    make_detector: Callable[[], HandDetector],
    workers: int,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[int, FileDetections]]:
    """Numbers of the files and what was found in them, as they are ready; no file raises anything.

    ``make_detector`` must be picklable. Raises HandsimError when a detector cannot be made.
    """
    waiting = iter(range(len(paths)))
    processes = [_Process(make_detector) for _ in range(min(workers, len(paths)))]
    try:
        for process in processes:
            process.take(waiting, paths)
        while busy := [process for process in processes if process.number is not None]:
            ready = wait([process.connection for process in busy], _WAKE_S)
            for process in busy:
                is_silent = process.connection not in ready
                if is_silent and not process.hangs(patience_s):
                    continue
                number = process.number
                assert number is not None
                found = (
                    _lost("said nothing for so long that it was ended") if is_silent else process.receive()
                )
                if found is None:
                    continue
                yield number, found
                if process.is_lost or is_silent:
                    process.process.kill()
                    process.stop()
                    place = processes.index(process)
                    process = processes[place] = _Process(make_detector)
                process.take(waiting, paths)
    finally:
        stop_workers(processes)


def _lost(how: str) -> FileDetections:
    return FileDetections(failure=f"the detector's process {how}", is_detectors=True)


class _Process(PipeWorker):
    """One process and the number of the file that it looks into."""

    def __init__(self, make_detector: Callable[[], HandDetector]) -> None:
        super().__init__(_look, make_detector)
        self.number: int | None = None
        self.is_lost = False
        self._is_ready = False
        self._since = time.monotonic()

    def take(self, waiting: Iterator[int], paths: Sequence[Path]) -> None:
        """Send it the next file, if there is one."""
        self.number, self._since = next(waiting, None), time.monotonic()
        if self.number is not None:
            try:
                self.connection.send(paths[self.number])
            except ConnectionError:
                return  # it just died; `receive` says so

    def hangs(self, patience_s: float) -> bool:
        """Whether it has been silent too long; loading libraries and a model takes as long as it takes."""
        return self._is_ready and time.monotonic() - self._since > patience_s

    def receive(self) -> FileDetections | None:
        """What it found; None where it only says that it is ready."""
        try:
            message: FileDetections | HandsimError | None = self.connection.recv()
        except (EOFError, ConnectionError):
            if not self._is_ready:
                raise HandsimError("a process died while starting; its own messages are above") from None
            self.is_lost = True
            return _lost("ended over it")
        if isinstance(message, HandsimError):
            raise message
        if message is None:
            self._is_ready, self._since = True, time.monotonic()
        return message


def _look(connection: Connection, make_detector: Callable[[], HandDetector]) -> None:
    """In a process: receive paths and send what is in them, or an error where no detector can be made."""
    try:
        detector = make_detector()
    except HandsimError as error:
        connection.send(error)
        return
    try:
        connection.send(None)
        while True:
            connection.send(_look_into(connection.recv(), detector))
    finally:
        detector.close()


def _look_into(path: Path, detector: HandDetector) -> FileDetections:
    try:
        picture = decode_picture(path)
    except UnusableError as error:
        return FileDetections(failure=str(error))
    except OSError as error:
        return FileDetections(failure=error.strerror or str(error))
    height, width = picture.pixels.shape[:2]
    size = round(width / picture.scale), round(height / picture.scale)
    failure = ""
    try:
        found = detector.detect([picture.pixels])[0]
    except UndetectedError as error:
        found, failure = error.found[0], str(error)
    except Exception as error:  # of the detector: one picture never ends a run
        found, failure = [], f"{type(error).__name__}: {error}"
    if picture.scale != 1:
        scale = np.float32(picture.scale)
        found = [replace(detection, keypoints_px=detection.keypoints_px / scale) for detection in found]
    return FileDetections(size, tuple(found), failure, bool(failure))
