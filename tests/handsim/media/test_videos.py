from pathlib import Path

import av
import numpy as np
import pytest

from handsim.errors import UnusableError
from handsim.videos import probe_video, sample_frames

FORMATS = [("mp4", "mpeg4"), ("mkv", "mpeg4"), ("avi", "mpeg4"), ("ts", "mpeg2video")]


def write_video(path: Path, codec: str = "mpeg4", *, seconds: int = 10, rate: int = 30) -> Path:
    """A video whose frame i is grey level i / 2."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(seconds * rate):
            picture = np.full((48, 64, 3), number // 2 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


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
    whole = [frame.index for frame in sample_frames(path, rate, 0, None)]
    middle = max(1, int(2 * rate))
    parts = [
        frame.index
        for start, stop in ((0, middle), (middle, None))
        for frame in sample_frames(path, rate, start, stop)
    ]
    assert parts == whole
    assert len(whole) == len(set(whole)) == min(120, 4 * rate)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "mpeg4"), ("avi", "mpeg4")])
def test_frames_before_a_cut_are_kept_and_the_cut_is_told(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(tmp_path / f"v.{suffix}", codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    kept: list[int] = []
    frames = sample_frames(path, 1.0, 0, None)
    with pytest.raises(UnusableError, match="truncated video"):
        kept.extend(frame.index for frame in frames)
    assert 4 <= len(kept) < 10
    assert kept == list(range(0, 30 * len(kept), 30))


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    for name, data in (("text.mp4", b"not a video" * 100), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnusableError, match="not a video"):
            probe_video(tmp_path / name)
    with pytest.raises(UnusableError, match=r"not a video|unreadable"):
        probe_video(tmp_path / "nowhere.mp4")
    cut = write_video(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:2000])  # its index is at the end
    with pytest.raises(UnusableError, match=r"not a video.*cut off"):
        probe_video(cut)


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
