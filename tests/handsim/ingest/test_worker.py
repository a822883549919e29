from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.detection import Detection
from handsim.ingest import IngestOptions
from handsim.ingest.plan import plan_ingest
from handsim.ingest.worker import ItemWorker
from tests.handsim.builders import BrightnessDetector, write_pictures, write_video


class FailingDetector(BrightnessDetector):
    """Raises an error at the first picture."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (MemoryError("no room"), "failed", "MemoryError: no room"),
        (OSError(5, "Input/output error"), "unreadable", "Input/output error"),
    ],
)
def test_an_error_at_one_item_is_its_result(
    tmp_path: Path, error: Exception, reason: str, detail: str
) -> None:
    (item,) = plan_ingest([write_pictures(tmp_path, 1, 1)], IngestOptions()).files
    result = ItemWorker(FailingDetector(error)).process(item)
    assert [(skip.reason, skip.detail) for skip in result.skipped] == [(reason, detail)]
    assert result.has_failed


def test_frames_without_a_hand_are_counted_and_are_no_failure(tmp_path: Path) -> None:
    (item,) = plan_ingest([write_video(tmp_path / "v.mkv", seconds=3)], IngestOptions()).files
    result = ItemWorker(BrightnessDetector()).process(item)  # the first of three frames is black
    assert (result.pictures, result.stages) == (3, {"first try": 2})
    assert [hand.frame for hand, _ in result.hands] == [30, 60]
    assert [(skip.reason, skip.count) for skip in result.skipped] == [("no hand", 1)]
    assert not result.has_failed
