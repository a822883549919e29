"""Pictures and frames, as they come."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.errors import UnusableError
from tests.handsim.builders import write_video
from training.predict import is_video, pictures_of


def test_a_photograph_is_one_picture(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / "a.png")
    (picture,) = pictures_of(tmp_path / "a.png", 1.0)
    assert picture.image.shape == (20, 30, 3)
    assert picture.image[0, 0].tolist() == [10, 200, 30]
    assert (picture.frame, picture.time_s) == (None, None)


@pytest.mark.parametrize("every_s", [0.5, 1.0, 2.0])
def test_a_video_gives_a_frame_every_so_often(tmp_path: Path, every_s: float) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=4)
    pictures = list(pictures_of(path, every_s))
    assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(0, 4, every_s))
    for picture in pictures:
        assert picture.frame is not None
        assert abs(float(picture.image.mean()) - picture.frame / 2) < 5


def test_videos_are_told_by_their_names() -> None:
    assert is_video(Path("a/B.MP4"))
    assert not is_video(Path("a/mp4.jpg"))


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    (tmp_path / "v.mp4").write_text("no video")
    for name, said in (
        ("gone.jpg", "no such file"),
        (".", r"a folder: its pictures would do, as in .*\*.jpg"),
        ("note.txt", "not an image"),
        ("v.mp4", "not a video"),
    ):
        with pytest.raises(UnusableError, match=said):
            next(pictures_of(tmp_path / name, 1.0))
