"""Telling pictures, animations, videos and annotations apart."""

import io
import os
import socket
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from handsim.errors import UnusableError
from handsim.media import tell_kind
from tests.handsim.builders import write_video


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def frames(count: int = 3) -> list[Image.Image]:
    return [Image.new("RGB", (64, 48), (60 * number, 90, 30)) for number in range(count)]


def animated(format: str, count: int = 3) -> bytes:
    first, *others = frames(count)
    return encoded(first, format, save_all=True, append_images=others, duration=200)


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "HEIF", "MPO", "BigTIFF"]
)
def test_pictures_are_told_by_their_content(tmp_path: Path, format: str) -> None:
    path = tmp_path / "no suffix"
    if format == "HEIF":
        pillow_heif.from_pillow(frames()[0]).save(path)
    elif format == "BigTIFF":
        path.write_bytes(encoded(frames()[0], "TIFF", big_tiff=True))
    else:
        path.write_bytes(encoded(frames()[0], format))
    assert tell_kind(path) == "picture"


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_more_than_one_frame_is_an_animation_and_one_is_a_picture(tmp_path: Path, format: str) -> None:
    path = tmp_path / "some.jpg"
    path.write_bytes(animated(format))
    assert tell_kind(path) == "animation"
    path.write_bytes(animated(format, count=1))
    assert tell_kind(path) == "picture"


def test_a_smaller_copy_of_a_page_makes_no_animation(tmp_path: Path) -> None:
    """Scanners and microscopes put thumbnails behind the picture."""
    page, copy = Image.new("L", (64, 48), 200), Image.new("L", (16, 12), 200)
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    path = tmp_path / "scan.tif"
    path.write_bytes(encoded(page, "TIFF", save_all=True, append_images=[copy]))
    with Image.open(path) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
    assert tell_kind(path) == "picture"


def test_sequences_in_heif_and_avif_are_read_as_films_are(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(animated("AVIF"))
    assert tell_kind(tmp_path / "a") == "video"


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "mpeg4"),
        ("mov", "mpeg4"),
        ("3gp", "mpeg4"),
        ("matroska", "mpeg4"),
        ("avi", "mpeg4"),
        ("asf", "msmpeg4v3"),
        ("flv", "flv"),
        ("mpeg", "mpeg1video"),
        ("mpegts", "mpeg2video"),
        ("mxf", "mpeg2video"),
        ("ogg", "libvpx"),
        ("yuv4mpegpipe", "rawvideo"),
        ("ivf", "libvpx"),
        ("h264", "libx264"),
        ("hevc", "libx265"),
        ("m4v", "mpeg4"),
        ("mpeg1video", "mpeg1video"),
        ("nut", "mpeg4"),
        ("rm", "rv10"),
        ("dv", "dvvideo"),
    ],
)
def test_videos_are_told_by_their_content(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / "some.jpg"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = (720, 576) if codec == "dvvideo" else (64, 48)
        stream.pix_fmt = "yuv420p"
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        for _ in range(8):
            grey = np.full((stream.height, stream.width, 3), 90, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        file.mux(stream.encode())
    assert tell_kind(path) == "video"
    if container == "mpegts":  # from a receiver, in the middle of a packet; and from a camera, with times
        data = path.read_bytes()
        path.write_bytes(data[77:])
        assert tell_kind(path) == "video"
        packets = (data[at : at + 188] for at in range(0, len(data), 188))
        path.write_bytes(b"".join(b"\1\2\3\4" + packet for packet in packets))
        assert tell_kind(path) == "video"


def test_an_old_film_has_no_type_at_its_beginning(tmp_path: Path) -> None:
    data = write_video(tmp_path / "new.mov", seconds=1).read_bytes()
    path = tmp_path / "old"
    path.write_bytes(data[int.from_bytes(data[:4], "big") :])
    assert tell_kind(path) == "video"


def test_annotations_are_told_by_their_first_character(tmp_path: Path) -> None:
    np.savez(tmp_path / "results.npz", joints=np.zeros(3))
    np.save(tmp_path / "joints.npy", np.zeros(3))
    for number, text in enumerate(
        (
            '{"images": []}',
            ' \n\t{\n "a": 1}\n{"a": 2}\n',
            "\ufeff[[0.5, 1], [2, 3]]",
            "[]",
            "{}",
            '[{"a": null}]',
            "[-1]",
        )
    ):
        (tmp_path / f"{number}.txt").write_text(text, "utf-8")
    for path in tmp_path.iterdir():
        assert tell_kind(path) == "annotations", path.name


def test_what_is_neither_says_what_it_looks_like(tmp_path: Path) -> None:
    some, unknown = tmp_path / "some.jpg", "^not an image or video: it "
    for data, message in (
        (b"", "^empty file: 0 bytes$"),
        (b"hello, I am a text file", unknown + "looks like text$"),
        ("Händehochhöher".encode() * 400, unknown + "looks like text$"),
        (b"[core]\n  bare = false\n", unknown + "looks like text$"),
        (b"{this is no JSON}", unknown + "looks like text$"),
        (b"BMW, the free", unknown + "looks like text$"),
        (b"the free text of P6", unknown + "looks like text$"),
        (b"P6 and its friends", unknown + "looks like text$"),
        (b"%PDF-1.7 ...", unknown + "looks like a PDF$"),
        (b"<!DOCTYPE html><html>", unknown + "looks like a page of HTML"),
        (bytes(70_000), unknown + "begins with zeros$"),
        (bytes(range(200, 256)), unknown + "begins with the bytes c8 c9 ca"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", unknown + "looks like a camera's raw"),
        (b"PK\x03\x04" + bytes(22) + b"\x05\0\0\0a.jpg", unknown + "looks like a zip archive; unpack it$"),
        (b"\x1f\x8b\x08\0" + bytes(30), unknown + "looks like a gzip archive; unpack it$"),
        (b"name.jpg".ljust(257, b"\0") + b"ustar\x0000", unknown + "looks like a tar archive whose"),
    ):
        some.write_bytes(data)
        with pytest.raises(UnusableError, match=message):
            tell_kind(some)


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (*tmp_path.iterdir(), tmp_path, tmp_path / "gone", Path("/dev/zero")):
            with pytest.raises(UnusableError, match=r"^unreadable: "):
                tell_kind(path)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"\xff\xd8\xff\xe0",
        b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2" + b"\xff" * 70_000,
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
        b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\2",
        b"II*\0\x08\0\0\0\xff\xff",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1msf1",
        b'{"a": "',
    ],
)
def test_forty_gigabytes_cost_a_few_kilobytes(tmp_path: Path, beginning: bytes) -> None:
    path = tmp_path / "disk image"
    path.write_bytes(beginning)
    os.truncate(path, 40 << 30)

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before, start = bytes_read(), time.monotonic()
    with suppress(UnusableError) if not beginning else nullcontext():
        tell_kind(path)
    assert bytes_read() - before < 300_000
    assert time.monotonic() - start < 1
