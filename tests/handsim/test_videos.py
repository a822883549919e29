from pathlib import Path

import av
import numpy as np
import pytest

from handsim.errors import UnusableError
from handsim.videos import probe_video, sample_frames
from tests.handsim.builders import write_slides, write_video

FORMATS = [("mp4", "mpeg4"), ("mkv", "mpeg4"), ("avi", "mpeg4"), ("ts", "mpeg2video")]


@pytest.mark.parametrize(("suffix", "codec"), FORMATS)
def test_samples_are_a_second_apart_and_show_their_frame(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(tmp_path / f"v.{suffix}", codec)
    assert probe_video(path).duration_s == pytest.approx(10, abs=0.2)
    frames = list(sample_frames(path, 1.0, 0, None))
    assert [frame.index for frame in frames] == list(range(0, 300, 30))
    for frame in frames:
        assert abs(float(frame.image.mean()) - frame.index / 2) < 5


@pytest.mark.parametrize(("suffix", "codec"), FORMATS)
@pytest.mark.parametrize("rate", [0.5, 1.0, 7.0, 100.0])
def test_stretches_together_are_the_whole(tmp_path: Path, suffix: str, codec: str, rate: float) -> None:
    path = write_video(tmp_path / f"v.{suffix}", codec, seconds=4)
    middle = max(1, int(2 * rate))
    whole, first, second = (
        [frame.index for frame in sample_frames(path, rate, start, stop)]
        for start, stop in ((0, None), (0, middle), (middle, None))
    )
    assert first + second == whole
    assert len(whole) == len(set(whole)) == min(120, 4 * rate)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "mpeg4"), ("avi", "mpeg4")])
def test_frames_before_a_cut_are_kept_and_the_cut_is_reported(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write_video(tmp_path / f"v.{suffix}", codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    indices: list[int] = []
    with pytest.raises(UnusableError, match="truncated video"):
        indices.extend(frame.index for frame in sample_frames(path, 1.0, 0, None))
    assert 4 <= len(indices) < 10
    assert indices == list(range(0, 30 * len(indices), 30))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_last_frame_that_is_shown_for_long_is_no_cut(tmp_path: Path, suffix: str) -> None:
    path = write_slides(tmp_path / f"v.{suffix}", [0, 2000, 4000, 4100], end_ms=90_000)
    assert probe_video(path).duration_s == pytest.approx(90, abs=0.1)
    frames = list(sample_frames(path, 1.0, 0, None))
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [0, 40, 80]
    assert list(sample_frames(path, 1.0, 64, None)) == []  # all of it shows the last frame


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_frames_at_uneven_times_have_different_numbers(tmp_path: Path, suffix: str) -> None:
    """Ids of hands are made of them."""
    path = write_slides(tmp_path / f"v.{suffix}", [0, 400, 800, 5000], end_ms=90_000)
    rate = probe_video(path).frames_per_s
    frames = list(sample_frames(path, 2.5, 0, None))
    assert [frame.index / rate for frame in frames] == pytest.approx([0, 0.4, 0.8, 5], abs=0.06)


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    for name, data in (("text.mp4", b"not a video" * 100), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnusableError, match="not a video"):
            probe_video(tmp_path / name)
    cut = write_video(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:2000])  # its index is at the end
    with pytest.raises(UnusableError, match=r"not a video.*cut off"):
        probe_video(cut)


def test_a_video_that_cannot_be_opened_is_unreadable_and_not_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(UnusableError) as caught:
        probe_video(tmp_path / "nowhere.mp4")
    assert (caught.value.reason, caught.value.detail) == ("unreadable", "No such file or directory")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UnusableError, match="no pictures"):
        probe_video(path)
