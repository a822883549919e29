"""Sampling frames from animations, as from videos."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim import animations
from handsim.animations import probe_animation, sample_animation
from handsim.decoding.rgb import GROUND
from handsim.errors import Remark, UnusableError
from handsim.media import tell_kind

FORMATS = ("GIF", "PNG", "WEBP", "TIFF")


def write_animation(
    path: Path, format: str, count: int = 12, duration_ms: int | Sequence[int] = 200, **options: object
) -> Path:
    """Frame i is grey level 20 i, with noise that is its own; pages of a TIFF have no durations."""
    random = np.random.default_rng(0)
    pictures = [
        Image.fromarray(random.integers(20 * n, 20 * n + 3, (48, 64), dtype=np.uint8)) for n in range(count)
    ]
    if format == "WEBP":
        options = {"lossless": True, **options}
    pictures[0].save(path, format, save_all=True, append_images=pictures[1:], duration=duration_ms, **options)
    return path


def levels(path: Path, rate: float, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    """Index and number of each sampled frame, as its grey level tells it; nothing may be remarked."""
    remarks: list[Remark] = []
    frames = list(sample_animation(path, rate, start, stop, remarks))
    assert remarks == []
    assert all(frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8 for frame in frames)
    return [(frame.index, round((float(frame.image.mean()) - 1) / 20)) for frame in frames]


@pytest.mark.parametrize("format", FORMATS)
def test_samples_show_their_frame_and_stretches_together_are_the_whole(tmp_path: Path, format: str) -> None:
    path = write_animation(tmp_path / "some", format)
    frame_s = 1.0 if format == "TIFF" else 0.2
    info = probe_animation(path)
    assert info.duration_s == pytest.approx(12 * frame_s)
    assert info.frames_per_s == pytest.approx(1 / frame_s)
    for every, rate in ((1, 50), (1, 1 / frame_s), (2, 0.5 / frame_s), (5, 0.2 / frame_s)):
        expected = [(number, number) for number in range(0, 12, every)]
        assert levels(path, rate) == expected
        middle = max(1, int(5 * frame_s * rate))
        assert levels(path, rate, 0, middle) + levels(path, rate, middle, None) == expected


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_frames_are_shown_as_long_as_the_format_says(tmp_path: Path, format: str) -> None:
    """Frames of 0 and 10 ms for 100 ms, as in browsers; no two frames have one index."""
    path = write_animation(tmp_path / "some", format, 5, [100, 400, 10, 1000, 250])
    assert probe_animation(path).duration_s == pytest.approx(1.85)
    assert levels(path, 100) == [(0, 0), (1, 1), (5, 2), (6, 3), (16, 4)]
    assert levels(path, 2) == [(0, 0), (5, 2), (16, 4)]
    assert levels(path, 2, 1, 3) == [(5, 2)]
    assert levels(path, 1) == [(0, 0), (16, 4)]
    assert levels(path, 1, 7) == []
    path = write_animation(tmp_path / "other", format, 4, [100, 250, 100, 100])
    assert levels(path, 100) == [(0, 0), (1, 1), (3, 2), (4, 3)]


def test_a_picture_for_programs_without_animations_is_no_frame(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "some.png", "PNG", 4, default_image=True)
    assert levels(path, 100) == [(0, 1), (1, 2), (2, 3)]


def test_only_full_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    """Scanners and microscopes put smaller copies between them. Deep pages are scaled, turned ones turned."""
    pages = [Image.new("L", (64, 48), 10), Image.new("L", (16, 12), 99), Image.new("L", (48, 64), 50)]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[2].encoderinfo = {"tiffinfo": {274: 6}}
    deep = Image.fromarray(np.full((48, 64), 4095, np.uint16))
    pages[0].save(tmp_path / "some.tif", save_all=True, append_images=[*pages[1:], deep])
    frames = list(sample_animation(tmp_path / "some.tif", 1, 0, None))
    assert [(frame.index, int(frame.image.mean())) for frame in frames] == [(0, 10), (1, 50), (2, 255)]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_frames_are_whole_and_on_a_plain_ground(tmp_path: Path, format: str) -> None:
    """Files hold only what changes, and the rest of a frame is transparent."""
    frames = []
    for number in range(4):
        pixels = np.zeros((48, 64, 4), np.uint8)
        pixels[10:40, 10:50] = (200, 40, 90, 255)
        pixels[12 : 16 + number, 12:16] = (10, 250, 10, 255)
        frames.append(Image.fromarray(pixels))
    path = tmp_path / "some"
    options = {"lossless": True} if format == "WEBP" else {}
    frames[0].save(path, format, save_all=True, append_images=frames[1:], duration=100, **options)
    sampled = list(sample_animation(path, 100, 0, None))
    assert len(sampled) == 4
    for frame, original in zip(sampled, frames, strict=True):
        expected = np.asarray(original)[:, :, :3].copy()
        expected[np.asarray(original)[:, :, 3] == 0] = GROUND
        assert np.abs(frame.image.astype(int) - expected).max() <= 8


@pytest.mark.parametrize("format", FORMATS)
def test_the_frames_before_a_cut_are_used_and_the_cut_is_remarked(tmp_path: Path, format: str) -> None:
    path = write_animation(tmp_path / "some", format)
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert tell_kind(path) == "animation"
        remarks: list[Remark] = []
        frames = list(sample_animation(path, 100, 0, None, remarks))
        assert 1 <= len(frames) <= 12 * share
        assert [round((float(frame.image.mean()) - 1) / 20) for frame in frames] == list(range(len(frames)))
        assert {remark.reason for remark in remarks} <= {"truncated animation", "damaged animation"}
        assert remarks
        if format != "WEBP":  # its first stretch knows nothing of the cut
            first: list[Remark] = []
            assert len(list(sample_animation(path, 5, 0, 1, first))) == 1
            assert first == []


def test_a_damaged_page_of_a_tiff_costs_no_other(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "some.tif", "TIFF", 6, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(2)
        (place,) = image.tag_v2[273]  # type: ignore[attr-defined]
    data[place : place + 40] = b"\xff" * 40
    path.write_bytes(data)
    remarks: list[Remark] = []
    assert [frame.index for frame in sample_animation(path, 1, 0, None, remarks)] == [0, 1, 3, 4, 5]
    assert [(remark.reason, remark.count) for remark in remarks] == [("damaged animation", 1)]


def test_pages_of_which_none_can_be_decoded_are_one_error_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_animation(tmp_path / "some.tif", "TIFF", 4, compression="tiff_lzw")
    whole = path.read_bytes()
    compression = struct.pack("<HHI", 259, 3, 1)
    path.write_bytes(whole.replace(compression + b"\5\0", compression + b"\7\0"))  # not JPEG, as it now says
    with pytest.raises(UnusableError, match="damaged animation"):
        list(sample_animation(path, 1, 0, 2))
    remarks: list[Remark] = []
    assert list(sample_animation(path, 1, 2, None, remarks)) == []
    assert [(remark.reason, remark.count) for remark in remarks] == [("damaged animation", 2)]
    assert capfd.readouterr().err == ""


def test_what_would_take_for_ever_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_animation(tmp_path / "some.gif", "GIF")
    remarks: list[Remark] = []
    monkeypatch.setattr(animations, "_MAX_TOTAL_PIXELS", 5 * 64 * 48)
    assert len(list(sample_animation(path, 5, 0, None, remarks))) == 5
    assert [(remark.reason, remark.count) for remark in remarks] == [("damaged animation", 7)]
    pages = write_animation(tmp_path / "some.tif", "TIFF")
    assert len(list(sample_animation(pages, 1, 8, None))) == 4  # those before them are not decoded
    monkeypatch.setattr(animations, "_MAX_FRAMES", 4)
    remarks.clear()
    assert len(list(sample_animation(path, 5, 0, None, remarks))) == 4
    assert [remark.reason for remark in remarks] == ["animation too long"]


def test_a_frame_that_outgrows_every_bound_ends_the_animation(tmp_path: Path) -> None:
    """The picture of a GIF grows with its frames."""
    path = write_animation(tmp_path / "some.gif", "GIF", 3)
    data = bytearray(path.read_bytes())
    last_frame = data.rindex(b",\0\0\0\0\x40\0\x30\0")
    struct.pack_into("<HH", data, last_frame + 5, 65_000, 65_000)
    path.write_bytes(data)
    remarks: list[Remark] = []
    assert len(list(sample_animation(path, 100, 0, None, remarks))) == 2
    assert [(remark.reason, remark.count) for remark in remarks] == [("damaged animation", 1)]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", FORMATS)
def test_damage_anywhere_ends_in_frames_and_remarks_or_one_kind_of_error(
    tmp_path: Path, format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_animation(tmp_path / "some", format, 4)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    capfd.readouterr()
    harmed = 0
    for _ in range(150):
        data = bytearray(whole)
        for place in random.integers(len(data), size=6):
            data[place] = random.integers(256)
        path.write_bytes(
            data[: random.integers(len(data) // 2, len(data))] if random.random() < 0.3 else data
        )
        remarks: list[Remark] = []
        try:
            probe_animation(path)
            frames = list(sample_animation(path, 100, 0, None, remarks))
            harmed += len(frames) < 4
        except UnusableError:
            harmed += 1
    assert harmed > 5
    assert capfd.readouterr().err == ""


def test_what_is_no_animation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some"
    for data in (b"GIF89a", b"II*\0\x08\0\0\0", b"rubbish", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        path.write_bytes(data)
        with pytest.raises(UnusableError):
            probe_animation(path)
        with pytest.raises(UnusableError):
            list(sample_animation(path, 1, 0, None))
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "GIF")
    path.write_bytes(buffer.getvalue())
    assert [frame.index for frame in sample_animation(path, 1, 0, None)] == [0]
