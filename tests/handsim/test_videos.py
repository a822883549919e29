from pathlib import Path

import av
import numpy as np
import pytest

from handsim.errors import Remark, UnusableError
from handsim.videos import probe_video, sample_frames
from tests.handsim.builders import write_slides, write_video


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "mpeg4"), ("mkv", "mpeg4"), ("avi", "mpeg4"), ("ts", "mpeg2video")]
)
def test_samples_show_their_frame_and_stretches_together_are_the_whole(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write_video(tmp_path / f"v.{suffix}", codec, seconds=4)
    assert probe_video(path).duration_s == pytest.approx(4, abs=0.2)
    for rate, step in ((0.5, 60), (1.0, 30), (7.0, None), (100.0, 1)):
        frames = list(sample_frames(path, rate, 0, None))
        indices = [frame.index for frame in frames]
        assert len(indices) == len(set(indices)) == min(120, 4 * rate)
        assert step is None or indices == list(range(0, 120, step))
        for frame in frames:
            assert abs(float(frame.image.mean()) - frame.index / 2) < 5
        middle = max(1, int(2 * rate))
        stretches = [*sample_frames(path, rate, 0, middle), *sample_frames(path, rate, middle, None)]
        assert [frame.index for frame in stretches] == indices


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_frames_before_a_cut_are_used_and_the_cut_is_reported(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"v.{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    remarks: list[Remark] = []
    indices = [frame.index for frame in sample_frames(path, 1.0, 0, None, remarks)]
    assert [remark.reason for remark in remarks] == ["truncated video"]
    assert 4 <= len(indices) < 10
    assert indices == list(range(0, 30 * len(indices), 30))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_frames_at_uneven_times_are_sampled_by_time_and_numbered_apart(tmp_path: Path, suffix: str) -> None:
    """Ids of hands are made of their numbers. A last frame that is shown for long is no cut."""
    path = write_slides(tmp_path / f"v.{suffix}", [0, 2000, 4000, 4100], end_ms=90_000)
    assert probe_video(path).duration_s == pytest.approx(90, abs=0.1)
    frames = list(sample_frames(path, 1.0, 0, None))
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [0, 40, 80]
    assert list(sample_frames(path, 1.0, 64, None)) == []  # all of it shows the last frame
    path = write_slides(tmp_path / f"w.{suffix}", [0, 400, 800, 5000], end_ms=90_000)
    numbers = [frame.index for frame in sample_frames(path, 2.5, 0, None)]
    rate = probe_video(path).frames_per_s
    assert [number / rate for number in numbers] == pytest.approx([0, 0.4, 0.8, 5], abs=0.06)


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", seconds=1).read_bytes()
    for data, reason in (
        (b"not a video" * 100, "not a video"),
        (b"", "not a video"),
        (whole[: len(whole) // 2], r"not a video.*cut off"),  # its index is at the end
    ):
        (tmp_path / "some.mp4").write_bytes(data)
        with pytest.raises(UnusableError, match=reason):
            probe_video(tmp_path / "some.mp4")
    with pytest.raises(UnusableError, match=r"^unreadable: No such file or directory$"):
        probe_video(tmp_path / "nowhere.mp4")


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
