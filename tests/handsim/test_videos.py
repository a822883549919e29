import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handsim.decoding.display_geometry import orientation_of_matrix
from handsim.errors import Remark, UnusableError
from handsim.videos import SampledFrame, probe_video, sample_frames
from tests.handsim.builders import write_slides, write_video

STRETCHES: Final = ((0, 33), (33, 41), (41, 42), (42, 64), (64, None))
ONE: Final = 1 << 16
"""The 1 of display matrices."""


def picture(width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Smooth, and unlike each of its mirror images."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return (255 * np.stack([x, y, x * y], -1)).astype(np.uint8)


_GROUND = np.random.default_rng(0).integers(0, 20, (48, 64, 1), dtype=np.uint8)


def moving(number: int) -> NDArray[np.uint8]:
    """A bar that moves over a ground that grows brighter: what a decoder makes up shows neither."""
    image = (_GROUND + np.uint8(number + 20)).repeat(3, axis=2)
    image[8:40, 2 * number % 48 : 2 * number % 48 + 16] = (220, 60, 60)
    return image


def film(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    codec: str = "libx264",
    *,
    rate: int = 10,
    options: Mapping[str, str] = {"bf": "2", "g": "10"},
    format: str | None = None,
    pixels: str = "yuv420p",
    aspect: Fraction | None = None,
    matrix: tuple[int, ...] | None = None,
    stamps_ms: Iterable[int] | None = None,
    sound_s: int = 0,
    container_options: Mapping[str, str] = {},
) -> Path:
    """Encode pictures [H, W, 3] into one stream, with silence if asked for."""
    pictures = list(pictures)
    with av.open(str(path), "w", format=format, options=dict(container_options)) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = pixels, dict(options)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        stamps = None if stamps_ms is None else list(stamps_ms)
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("mp2", rate=32000) if sound_s else None
        for number, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            for number in range(sound_s * 32000 // 1152):
                silence = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1152), np.int16), format="s16", layout="mono"
                )
                silence.sample_rate, silence.pts = 32000, 1152 * number
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def damage(path: Path, at_s: float, size: int = 250) -> None:
    """Overwrite a part of a file, from the frame of a time on."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        places = [
            packet.pos or int(len(data) * at_s / 10)  # a program stream does not say
            for packet in container.demux(stream)
            if packet.dts is not None and (packet.dts - (stream.start_time or 0)) * packet.time_base >= at_s
        ]
    data[places[0] : places[0] + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)


def read(
    path: Path, rate: float = 10, start: int = 0, stop: int | None = None
) -> tuple[list[SampledFrame], list[Remark]]:
    remarks: list[Remark] = []
    return list(sample_frames(path, rate, start, stop, remarks)), remarks


def numbers(path: Path, rate: float = 10) -> list[int]:
    return [frame.index for frame in read(path, rate)[0]]


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_every_right_angle_and_mirror_of_the_display_matrix_is_undone(
    tmp_path: Path, turns: int, is_mirrored: bool
) -> None:
    """A stored pixel (p, q) is shown at (a p + c q, b p + d q)."""
    a, b = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    c, d = (b, -a) if is_mirrored else (-b, a)
    shown = picture()
    q, p = np.indices(shown.shape[:2] if b == 0 else shown.shape[1::-1])
    x, y = a * p + c * q, b * p + d * q
    stored = shown[y - y.min(), x - x.min()]
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path = film(tmp_path / "v.mp4", [stored] * 2, matrix=matrix)
    frames, remarks = read(path)
    assert frames[0].image.shape == shown.shape
    assert np.abs(frames[0].image.astype(int) - shown).mean() < 5
    assert remarks == []


def test_a_slanted_matrix_is_taken_to_the_nearest_right_angle_and_remarked(tmp_path: Path) -> None:
    cos, sin = round(ONE * np.cos(np.radians(70))), round(ONE * np.sin(np.radians(70)))
    path = film(tmp_path / "v.mp4", [picture()] * 2, matrix=(cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30))
    frames, remarks = read(path)
    assert frames[0].image.shape == (64, 48, 3)
    assert [(remark.reason, remark.detail[:16]) for remark in remarks] == [
        ("slanted video", "shown 20 degrees")
    ]
    assert orientation_of_matrix((0,) * 9).quarter_turns == 0  # shows nothing at all


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("v.mp4", "mpeg4", "yuv420p"), ("v.mov", "qtrle", "rgb24")]
)
def test_pixels_are_made_square_before_they_are_turned(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    """Also where the container alone knows that they are not. None is thrown away."""
    for width, height, aspect in ((48, 48, Fraction(4, 3)), (64, 36, Fraction(3, 4))):
        stored = picture()[: height * 48 // height]
        stored = np.asarray(Image.fromarray(stored).resize((width, height)))
        path = film(tmp_path / name, [stored] * 2, codec, options={}, pixels=pixels, aspect=aspect)
        (frame, *_), remarks = read(path)
        assert frame.image.shape == (48, 64, 3)
        assert np.abs(frame.image.astype(int) - picture()).mean() < 6
        assert remarks == []
    turned = np.asarray(Image.fromarray(np.rot90(picture())).resize((48, 48)))
    matrix = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
    path = film(
        tmp_path / name, [turned] * 2, codec, options={}, pixels=pixels, aspect=Fraction(3, 4), matrix=matrix
    )
    (frame, *_), _ = read(path)
    assert frame.image.shape == (48, 64, 3)
    assert np.abs(frame.image.astype(int) - picture()).mean() < 6


def test_pixels_beyond_belief_are_square_and_remarked(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", [picture()] * 2, "mpeg4", options={}, aspect=Fraction(30, 1))
    frames, remarks = read(path)
    assert frames[0].image.shape == (48, 64, 3)
    assert [remark.reason for remark in remarks] == ["odd pixel aspect ratio"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("size", [16, 320])
def test_the_best_stream_is_read_and_never_a_still(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"v.{suffix}"
    with av.open(str(path), "w") as container:
        streams = []
        for codec, pixels, side in (
            ("mjpeg", "yuvj420p", size),
            ("mpeg4", "yuv420p", 32),
            ("mpeg4", "yuv420p", 64),
        ):
            stream = container.add_stream(codec, rate=10)
            assert isinstance(stream, av.VideoStream)
            stream.width = stream.height = side
            stream.pix_fmt = pixels
            streams.append(stream)
        for stream in streams:
            for _ in range(1 if stream is streams[0] else 10):
                grey = np.full((stream.height, stream.width, 3), stream.width % 256, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey).reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
    frames, remarks = read(path)
    assert {frame.image.shape for frame in frames} == {(64, 64, 3)}
    assert len(frames) == 10
    assert remarks == []


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "flv"])
def test_a_clock_may_start_anywhere(tmp_path: Path, suffix: str) -> None:
    codec = "flv1" if suffix == "flv" else "libx264"
    options = {} if suffix == "flv" else {"bf": "2", "g": "10"}
    stamps = range(7000, 11_000, 100)
    path = film(tmp_path / f"v.{suffix}", map(moving, range(40)), codec, options=options, stamps_ms=stamps)
    assert probe_video(path).duration_s == pytest.approx(4, abs=0.11)
    frames, remarks = read(path, 1.0)
    assert [frame.index for frame in frames] == [0, 10, 20, 30]
    assert remarks == []


def test_a_clock_that_was_set_while_it_ran_goes_on(tmp_path: Path) -> None:
    """Recordings that were joined, a camera that learned the time, a counter of 33 bits that overflowed."""
    first = film(tmp_path / "a.ts", map(moving, range(40))).read_bytes()
    hours_later = range(18_000_000, 18_004_000, 100)
    second = film(tmp_path / "b.ts", map(moving, range(40)), stamps_ms=hours_later).read_bytes()
    for name, data in (("joined", first + first), ("forward", first + second), ("back", second + first)):
        (tmp_path / f"{name}.ts").write_bytes(data)
    jump = [*range(0, 4000, 100), *hours_later]
    film(tmp_path / "set.mkv", [*map(moving, range(40)), *map(moving, range(40))], stamps_ms=jump)
    for name in ("joined.ts", "forward.ts", "back.ts", "set.mkv"):
        frames, remarks = read(tmp_path / name)
        assert [frame.index for frame in frames] == list(range(80))
        for frame in frames:
            assert np.abs(frame.image.astype(int) - moving(frame.index % 40)).mean() < 15
        assert remarks == []
        assert probe_video(tmp_path / name).duration_s is None  # it is read in one stretch
        assert [frame.index for frame in read(tmp_path / name, 10, 50, 60)[0]] == list(range(50, 60))
    wrap = film(tmp_path / "w.ts", map(moving, range(40)), stamps_ms=range(95_441_717, 95_445_717, 100))
    assert probe_video(wrap).duration_s == pytest.approx(4, abs=0.11)
    assert numbers(wrap) == list(range(40))


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi", "ts"])
def test_sound_that_outlasts_the_picture_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = film(tmp_path / f"v.{suffix}", map(moving, range(20)), "mpeg4", options={}, sound_s=9)
    frames, remarks = read(path)
    assert len(frames) == 20
    assert remarks == []
    assert probe_video(path).duration_s == pytest.approx(2, abs=0.11)


@pytest.mark.parametrize(
    ("format", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("m4v", "mpeg4"), ("mjpeg", "mjpeg")]
)
def test_raw_streams_are_read_at_the_nominal_rate_whatever_their_name(
    tmp_path: Path, format: str, codec: str
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = film(
        tmp_path / "v.mp4",
        map(moving, range(50)),
        codec,
        rate=25,
        format=format,
        options=options,
        pixels=pixels,
    )
    assert probe_video(path).frames_per_s == 25
    frames, remarks = read(path, 5.0)
    assert [frame.index for frame in frames] == list(range(0, 50, 5))
    assert remarks == []
    assert [frame.index for frame in read(path, 5.0, 5, None)[0]] == list(range(25, 50, 5))


def test_neither_suffix_nor_name_decides_what_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = film(tmp_path / "v.mp4", map(moving, range(10))).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("v.insv", "v", "v.jpg", "http:v.mp4", "12:30.mp4", "caf\udce9.mp4", "%03d.png"):
        Path(name).write_bytes(data)
        assert numbers(Path(name)) == list(range(10))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"),
        ("mp4", "libx265"),
        ("mkv", "libx264"),
        ("ts", "libx264"),
        ("ts", "mpeg2video"),
        ("avi", "mpeg4"),
        ("webm", "libvpx"),
    ],
)
def test_frames_on_both_sides_of_damage_are_used_and_each_loss_is_remarked_once(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    """No frame shows what a decoder made up, and stretches side by side are the whole."""
    options = {
        "libx265": {"x265-params": "log-level=none:keyint=10"},
        "libvpx": {"deadline": "realtime", "g": "10"},
    }
    pictures = map(moving, range(100))
    path = film(tmp_path / f"v.{suffix}", pictures, codec, options=options.get(codec, {"g": "10"}))
    damage(path, at_s=4.3)
    frames, remarks = read(path)
    found = [frame.index for frame in frames]
    assert found[-1] == 99
    assert 60 < len(found) < 100
    film_frames = np.stack([moving(number) for number in range(100)]).astype(int)
    for frame in frames:
        # Where what was lost did not show, a frame may be the one before it.
        nearby = film_frames[max(frame.index - 10, 0) : frame.index + 1]
        assert np.abs(nearby - frame.image).mean((1, 2, 3)).min() < 15
    assert {remark.reason for remark in remarks} == {"damaged video"}
    assert all(re.fullmatch(r"between \d+\.\d and \d+\.\d s: \d+ frames? lost", r.detail) for r in remarks)
    assert sum(remark.count for remark in remarks) == 100 - len(found)
    stretches = [read(path, 10, start, stop) for start, stop in STRETCHES]
    assert [frame.index for frames, _ in stretches for frame in frames] == found
    assert sum(remark.count for _, remarks in stretches for remark in remarks) == 100 - len(found)


def test_damage_anywhere_is_an_error_of_one_kind_or_remarked(tmp_path: Path) -> None:
    random, reasons = np.random.default_rng(0), set[str]()
    for suffix, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("ts", "mpeg2video"), ("avi", "mpeg4")):
        whole = film(tmp_path / f"v.{suffix}", map(moving, range(10)), codec, sound_s=1).read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            for place in random.integers(len(data), size=6):
                data[place : place + 20] = random.bytes(20)
            (tmp_path / "v").write_bytes(data)
            try:
                reasons |= {remark.reason for remark in read(tmp_path / "v")[1]}
            except UnusableError as error:
                reasons.add(error.reason)
    assert {"damaged video", "not a video"} <= reasons
    assert reasons <= {
        "not a video",
        "damaged video",
        "truncated video",
        "odd pixel aspect ratio",
        "slanted video",
    }


def test_a_still_scene_outlives_the_loss_of_a_key_frame(tmp_path: Path) -> None:
    """What follows the lost frames refers to earlier ones, which show the same."""
    still = [moving(0)] * 40 + [moving(20)] * 60
    path = film(tmp_path / "v.mp4", still, options={"g": "20"})
    damage(path, at_s=5.9, size=300)
    frames, remarks = read(path)
    assert [remark.reason for remark in remarks] == ["damaged video"]
    assert len(frames) > 75  # up to the next key frame it would be 65
    assert max(np.abs(frame.image.astype(int) - still[frame.index]).mean() for frame in frames) < 15


def test_a_cut_film_is_used_up_to_the_cut_which_one_stretch_remarks(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    path = film(tmp_path / "v.mp4", map(moving, range(100)), container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, remarks = read(path)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert 30 < len(frames) < 90
    assert [remark.reason for remark in remarks] == ["truncated video"]
    stretches = [read(path, 10, start, stop) for start, stop in STRETCHES]
    assert [frame.index for frames, _ in stretches for frame in frames] == list(range(len(frames)))
    assert [remark for _, found in stretches for remark in found] == remarks


def test_a_film_of_which_nothing_can_be_decoded_is_an_error(tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", map(moving, range(40)), container_options={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = np.random.default_rng(0).bytes(len(data) - start)
    path.write_bytes(data)
    with pytest.raises(UnusableError, match="damaged video: none of its frames"):
        read(path)
    path.write_bytes(data[:start])
    with pytest.raises(UnusableError, match="damaged video: none of its frames"):
        read(path)


@pytest.mark.parametrize(
    ("codec", "pixels", "width", "height"),
    [
        ("libx265", "yuv420p10le", 64, 48),
        ("ffv1", "yuv444p", 37, 51),
        ("ffv1", "gray", 64, 48),
        ("ffv1", "gray16le", 64, 48),
    ],
)
def test_every_depth_and_size_becomes_rgb(
    tmp_path: Path, codec: str, pixels: str, width: int, height: int
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = film(tmp_path / "v.mkv", [picture(width, height)], codec, options=options, pixels=pixels)
    ((frame,), remarks) = read(path)
    assert frame.image.shape == (height, width, 3)
    expected = picture(width, height).astype(float)
    if pixels.startswith("gray"):
        expected[:] = expected @ np.array([[0.299], [0.587], [0.114]])
    assert np.abs(frame.image - expected).mean() < 8
    assert remarks == []


def test_the_size_may_change_on_the_way(tmp_path: Path) -> None:
    small = film(tmp_path / "a.h264", [picture()] * 5, format="h264").read_bytes()
    large = film(tmp_path / "b.h264", [picture(128, 96)] * 5, format="h264").read_bytes()
    (tmp_path / "v").write_bytes(small + large)
    frames, _ = read(tmp_path / "v", 25)
    assert [frame.image.shape[:2] for frame in frames] == [(48, 64)] * 5 + [(96, 128)] * 5


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


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_no_two_samples_share_a_number_also_in_different_stretches(tmp_path: Path, suffix: str) -> None:
    stamps_ms = np.cumsum([0, 7, 9, 33, 34, 3, 70, 8, 8, 9, 90, 11, 5, 66]).tolist()
    path = film(
        tmp_path / f"v.{suffix}", map(moving, range(14)), "mpeg4", rate=60, options={}, stamps_ms=stamps_ms
    )
    stretches = [frame.index for start in range(45) for frame in read(path, 100, start, start + 1)[0]]
    assert stretches == numbers(path, 100)
    assert len(stretches) == len(set(stretches)) >= 7


def test_frames_near_each_other_among_some_that_stand_for_long_are_all_used(tmp_path: Path) -> None:
    """As in recordings of a screen; no two of their times fit one rate."""
    starts_ms = [0, 20_013, 20_524, 21_035, 60_042, 60_545, 61_002]
    path = write_slides(tmp_path / "v.mp4", starts_ms, end_ms=95_001)
    assert len(read(path, 2)[0]) == len(starts_ms)


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
