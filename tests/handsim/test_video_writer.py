"""Videos that handsim writes, read again."""

from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.video_writer import writing_video
from handsim.videos import sample_frames


def test_pictures_of_any_size_are_shown_at_their_times(tmp_path: Path) -> None:
    """The video has the size of the first one, in even numbers."""
    path, times_s = tmp_path / "new" / "v.mp4", [0.0, 0.1, 0.9, 1.0]
    with writing_video(path, 10) as video:
        for number, time_s in enumerate(times_s):
            video.add(np.full((49 + number, 65, 3), 60 * number, np.uint8), time_s)
    frames = list(sample_frames(path, 100, 0, None))
    assert [frame.time_s for frame in frames] == pytest.approx(times_s, abs=1e-3)
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert [frame.image.mean() for frame in frames] == pytest.approx([0, 60, 120, 180], abs=4)


def test_a_video_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def begin() -> None:
        with writing_video(tmp_path / "v.mp4", 10) as video:
            video.add(np.zeros((32, 32, 3), np.uint8), 0.0)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        begin()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "v.mp4"
    with pytest.raises(HandsimError, match=r"v.mp4 cannot be written \(.*; name another --out"):
        writing_video(path, 10).__enter__()
