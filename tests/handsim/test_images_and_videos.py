import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from handsim.errors import UnusableError
from handsim.images import decode_image, encode_jpeg, read_file
from handsim.videos import probe_video, sample_frames
from tests.handsim.builders import png_that_claims, write_slides, write_video


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("mode", "format"),
    [("RGB", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("1", "PNG")],
)
def test_every_mode_becomes_rgb(mode: str, format: str) -> None:
    image = decode_image(encoded(gradient().convert(mode), format))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8


def test_pictures_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    assert decode_image(encoded(gradient(), "JPEG", exif=exif)).shape == (64, 48, 3)


def test_what_cannot_be_decoded_says_why() -> None:
    whole = encoded(gradient(), "JPEG")
    for data, reason in (
        (b"hello, I am a text file", "not an image"),
        # An icon's header says little of the picture within, which would be decoded before its size is known.
        (encoded(gradient(128, 128), "ICO"), "not an image"),
        (encoded(gradient(128, 128), "ICNS"), "not an image"),
        (whole[: len(whole) // 2], "truncated image"),
        (encoded(gradient(), "PNG")[:80], "truncated image|corrupt image"),
        (png_that_claims(20_000, 20_000), "too many pixels"),
        (png_that_claims(12_000, 9_000), "too many pixels.*108 megapixels, the limit is 100"),
        (png_that_claims(100, 100), "truncated image|corrupt image"),
    ):
        with pytest.raises(UnusableError, match=reason):
            decode_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM"])
def test_damage_anywhere_is_one_kind_of_error(format: str) -> None:
    """Pillow's readers raise what they please; here it is one error, or a picture."""
    whole, random = encoded(gradient(), format), np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(min(len(data), 400), size=4):
            data[place] = random.integers(256)
        try:
            decode_image(bytes(data))
        except UnusableError:
            refused += 1
    assert refused > 5


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    for name, reason in (
        ("empty.jpg", "empty file"),
        ("folder.jpg", "unreadable: not a regular file"),
        ("link.jpg", "unreadable: the link leads nowhere"),
        ("pipe.jpg", "unreadable: not a regular file"),
    ):
        with pytest.raises(UnusableError, match=reason):
            read_file(tmp_path / name)


def test_jpeg_round_trip_is_close() -> None:
    image = np.asarray(gradient())
    assert np.abs(decode_image(encode_jpeg(image)).astype(int) - image).mean() < 3


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
    indices: list[int] = []
    with pytest.raises(UnusableError, match="truncated video"):
        indices.extend(frame.index for frame in sample_frames(path, 1.0, 0, None))
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
