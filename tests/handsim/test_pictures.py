"""Decoding pictures of every format, depth and state."""

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from handsim import images
from handsim.decoding.rgb import GROUND
from handsim.errors import UnusableError
from handsim.images import decode_image, decode_picture, encode_jpeg, read_file
from tests.handsim.builders import png_that_claims

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if format == "HEIF":
        file = pillow_heif.from_pillow(image)
        file.info.update(options)
        file.save(buffer)
    else:
        image.save(buffer, format, **options)
    return buffer.getvalue()


def encoded_by_opencv(suffix: str, samples: NDArray[Any]) -> bytes:
    """Samples [H, W], [H, W, 3] RGB or [H, W, 4] RGBA of types that Pillow does not write."""
    order = {2: [], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.ndim if samples.ndim == 2 else samples.shape[2]]
    return cv2.imencode(suffix, samples[:, :, order] if order else samples)[1].tobytes()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    return Image.fromarray(pixels)


def noise(width: int = 640, height: int = 480) -> Image.Image:
    """What takes many bytes a pixel, as photographs do."""
    small = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height))


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("RGB", "JPEG"),
        ("L", "PNG"),
        ("RGBA", "PNG"),
        ("P", "GIF"),
        ("CMYK", "JPEG"),
        ("1", "PNG"),
        ("YCbCr", "TIFF"),
        ("RGB", "HEIF"),
        ("RGBA", "WEBP"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, format: str) -> None:
    image = decode_image(encoded(gradient().convert(mode), format))
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    if mode not in ("1", "L", "P"):
        assert np.abs(image.astype(int) - np.asarray(gradient())).mean() < 6


def test_lab_becomes_rgb() -> None:
    red = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (136, 208, 195)])
    np.testing.assert_allclose(decode_image(encoded(red, "TIFF"))[0, 0], [255, 0, 0], atol=12)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_deep_samples_are_scaled_by_what_they_hold(suffix: str, channels: int, bits: int) -> None:
    """Cameras put 10 and 12 bits into 16."""
    expected = np.random.default_rng(0).integers(0, 256, (48, 64, channels), dtype=np.uint8)
    expected[0, 0] = 255
    deep = (expected.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    if channels == 4:
        expected[:, :, 3] = 255
        deep[:, :, 3] = 65535
    decoded = decode_image(encoded_by_opencv(suffix, deep.squeeze()))
    assert np.abs(decoded.astype(int) - expected[:, :, :3]).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_fractions_are_scaled_to_their_range(channels: int) -> None:
    grey = np.linspace(0, 255, 48 * 64).reshape(48, 64)
    samples = np.repeat(grey[:, :, None], channels, axis=2)
    for name, values, expected in (
        ("0 to 1", samples / 255, samples),
        ("half of it", samples / 510, samples / 2),
        ("any range", samples * 7 - 300, samples),
        ("float64", (samples / 255).astype(np.float64), samples),
    ):
        fractions = values.astype(np.float64 if name == "float64" else np.float32).squeeze()
        decoded = decode_image(encoded_by_opencv(".tif", fractions))
        assert np.abs(decoded.astype(int) - expected).max() <= 1, name
    holes = (samples / 255).astype(np.float32)
    holes[0, :3] = np.array([np.nan, np.inf, -np.inf])[:, None]
    decoded = decode_image(encoded_by_opencv(".tif", holes.squeeze()))
    assert decoded[0, :3, 0].tolist() == [0, 255, 0]
    assert np.abs(decoded.astype(int) - samples)[1:].max() <= 1
    nothing = encoded_by_opencv(".tif", np.full((4, 4), np.nan, np.float32))
    assert not decode_image(nothing).any()


def test_whole_numbers_below_zero_are_scaled_from_the_least(tmp_path: Path) -> None:
    values = np.array([[-1000, 0, 1000, 1047]], np.int32)
    assert decode_image(encoded_by_opencv(".tif", values))[0, :, 0].tolist() == [0, 125, 250, 255]


@pytest.mark.parametrize(
    ("mode", "format"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("PA", "TIFF"),
     ("RGBA", "AVIF"), ("P", "GIF"), ("RGBA", "HEIF")],
)  # fmt: skip
def test_what_is_transparent_shows_the_plain_ground(mode: str, format: str) -> None:
    pixels = np.full((48, 64, 4), 255, np.uint8)
    pixels[:, :32] = (255, 0, 0, 0)  # what hides there is red
    image = Image.fromarray(pixels)
    options: dict[str, object] = {}
    if mode == "P":
        image = Image.fromarray(np.repeat(pixels[:, :, 1] // 255, 1, axis=0)).convert("P")
        image.putpalette([255, 0, 0, 255, 255, 255])
        options["transparency"] = 0
    elif mode != "RGBA":
        image = image.convert(mode)
    decoded = decode_image(encoded(image, format, **options))
    assert np.abs(decoded[:, :24].astype(int) - GROUND).max() <= 3
    assert decoded[:, 40:].min() >= 250


def test_a_colour_that_stands_for_nothing_is_transparent() -> None:
    red_and_white = np.full((8, 8, 3), 255, np.uint8)
    red_and_white[:, :4] = (255, 0, 0)
    data = encoded(Image.fromarray(red_and_white), "PNG", transparency=(255, 0, 0))
    assert decode_image(data)[0, [0, 7]].tolist() == [[GROUND] * 3, [255] * 3]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF", "deep PNG", "deep TIFF"])
def test_pictures_are_turned_upright_once(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(
        np.kron(np.array([[250, 120, 20], [60, 90, 180]], np.uint8), np.ones((16, 16), np.uint8))
    )
    upright = np.asarray(ImageOps.exif_transpose(_with_orientation(stored, orientation)))
    if format.startswith("deep"):
        deep = encoded_by_opencv(
            ".png" if "PNG" in format else ".tif", np.dstack([np.asarray(stored).astype(np.uint16) * 257] * 3)
        )
        data = with_png_exif(deep, exif) if "PNG" in format else with_tiff_orientation(deep, orientation)
    elif format == "TIFF":
        data = encoded(stored.convert("RGB"), format, tiffinfo={0x0112: orientation})
    else:
        data = encoded(stored.convert("RGB"), format, exif=exif.tobytes())
    decoded = decode_image(data)
    assert decoded.shape[:2] == upright.shape
    assert np.abs(decoded[:, :, 0].astype(int) - upright).mean() < 8


def _with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    image = image.copy()
    image.getexif()[0x0112] = orientation
    return image


def with_png_exif(data: bytes, exif: Image.Exif) -> bytes:
    """A PNG with an EXIF chunk behind its header."""
    return data[:33] + png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[33:]


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_tiff_orientation(data: bytes, orientation: int) -> bytes:
    """A little-endian TIFF whose directory, copied to its end, has one tag more."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    entries = [entry for entry in entries if entry[:2] != b"\x12\x01"]
    entries.append(struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    return (
        data[:4]
        + struct.pack("<I", len(data))
        + data[8:]
        + struct.pack("<H", len(entries))
        + b"".join(entries)
        + bytes(4)
    )


def test_the_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode_image(encoded(gradient(), "JPEG", xmp=xmp)).shape == (64, 48, 3)
    assert decode_image(encoded(gradient(), "WEBP", xmp=xmp)).shape == (64, 48, 3)
    xmp = xmp.replace(b'"', b"'")
    assert decode_image(encoded(gradient(), "JPEG", xmp=xmp)).shape == (64, 48, 3)


def exif_block(*tags: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of (tag, type, count, value of 4 bytes)."""
    body = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(4)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_damaged_metadata_never_cost_the_pixels(format: str) -> None:
    """What can still be read of the orientation counts."""
    turned = (0x0112, 3, 1, b"\6\0\0\0")
    for exif, is_turned in (
        (exif_block(turned, (0x0128, 8, 1, b"\xfe\xff\0\0")), True),  # a resolution below zero
        (exif_block(turned, (0x010F, 2, 2**31, b"\xff\xff\xff\xff")), True),  # a text beyond all
        (exif_block(turned, (0x8769, 4, 1, b"\xff\xff\xff\xff")), True),  # a part that is nowhere
        (exif_block((0x0112, 8, 1, b"\6\0\0\0")), True),  # a number that could be below zero
        (exif_block((0x0112, 2, 1, b"6\0\0\0")), False),  # a text for a number
        (exif_block((0x0112, 3, 1, b"\x63\0\0\0")), False),
        (exif_block(turned)[:20], False),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", False),
        (b"Exif\0\0rubbish", False),
    ):
        if format in ("AVIF", "HEIF") and is_turned:
            continue  # there the picture's own boxes turn it
        sound = exif_block((0x010E, 2, 4, b"abc\0")).ljust(len(exif), b"?")[: max(len(exif), 32)]
        data = encoded(gradient(), format, exif=sound)
        assert sound[6:] in data
        data = data.replace(sound[6:], exif[6:].ljust(len(sound) - 6, b"?"))
        assert decode_image(data).shape == ((64, 48, 3) if is_turned else (48, 64, 3)), exif


def test_damage_in_other_metadata_does_not_cost_the_pixels() -> None:
    jpeg, png = encoded(gradient(), "JPEG"), encoded(gradient(), "PNG")
    for marker, content in (
        (0xE0, b"JFIF\0"),
        (0xEE, b"Adobe"),
        (0xE2, b"ICC_PROFILE\0\xff\x01".ljust(38, b"\xff")),
        (0xE2, b"MPF\0rubbish".ljust(38, b"\xff")),
        (0xED, b"Photoshop 3.0\0" + b"8BIM" * 6),
    ):
        size = len(content) + 2
        data = jpeg[:2] + struct.pack(">BBH", 0xFF, marker, size) + content + jpeg[2:]
        assert decode_picture(data).pixels.shape == (48, 64, 3)
    text = png_chunk(b"tEXt", b"Title\0hand")
    bomb = png_chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(20_000_000)))
    for chunk in (
        text[:-1] + b"?",
        bomb,
        png_chunk(b"iCCP", b"x\0\0rubbish"),
        png_chunk(b"eXIf", b"rubbish"),
        png_chunk(b"tRNS", b"?"),
    ):
        picture = decode_picture(png[:33] + chunk + png[33:])
        assert np.array_equal(picture.pixels, np.asarray(gradient()))


def test_metadata_take_no_memory() -> None:
    """Each tag says that it is as large as all metadata: together they would take gigabytes."""
    tags = [(tag, 7, 60_000, b"\0\0\0\0") for tag in range(5000)]
    block = exif_block(*tags)[:65_000]
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    jpeg = encoded(gradient(), "JPEG")
    tracemalloc.start()
    try:
        assert decode_image(jpeg[:2] + segment * 20 + jpeg[2:]).shape == (48, 64, 3)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_tiff_whose_tags_claim_more_than_the_file_holds_is_refused() -> None:
    data = encoded(gradient(), "TIFF")
    for count, size in ((60_000, 4), (400, 2000)):
        entries = b"".join(struct.pack("<HHII", tag + 300, 7, size, 8) for tag in range(count))
        with pytest.raises(UnusableError, match="corrupt image: its tags are damaged"):
            decode_image(
                data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", count) + entries
            )


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 8}, {"subsampling": 0}],
)
def test_a_jpeg_is_used_where_only_its_tail_is_missing(options: dict[str, object]) -> None:
    whole = encoded(noise(), "JPEG", quality=90, **options)
    pixels = decode_image(whole)
    for cut in (1, 2):
        picture = decode_picture(whole[:-cut])
        assert [remark.reason for remark in picture.remarks] == ["no end marker"]
        assert np.array_equal(picture.pixels, pixels)
    picture = decode_picture(whole[: -len(whole) // 500])
    (remark,) = picture.remarks
    assert remark.detail == "the last pixels are missing, too"
    assert (picture.pixels != pixels).any(axis=2).mean() < 0.01
    for missing in (len(whole) // 20, len(whole) // 2, len(whole) * 9 // 10):
        for filling in (b"", bytes(missing)):  # some programs make room for a download before it comes
            with pytest.raises(UnusableError, match="truncated image"):
                decode_picture(whole[:-missing] + filling)
    smooth = encoded(gradient(640, 480), "JPEG", quality=90, **options)  # of which each byte says much
    for missing in (len(smooth) // 2, len(smooth) * 4 // 5):
        with pytest.raises(UnusableError, match="truncated image"):
            decode_picture(smooth[:-missing])


def test_a_png_is_used_where_only_its_tail_is_missing() -> None:
    whole = encoded(noise(), "PNG")
    for cut in (12, 16):
        picture = decode_picture(whole[:-cut])
        assert [remark.reason for remark in picture.remarks] == ["no end marker"]
        assert np.array_equal(picture.pixels, np.asarray(noise()))
    picture = decode_picture(whole[: -len(whole) // 500])
    assert [remark.reason for remark in picture.remarks] == ["no end marker"]
    assert np.array_equal(picture.pixels[:475], np.asarray(noise())[:475])
    with pytest.raises(UnusableError, match="truncated image"):
        decode_picture(whole[: -len(whole) // 20])


def test_a_sound_picture_has_no_remarks() -> None:
    for format in (*FORMATS, "HEIF"):
        picture = decode_picture(encoded(gradient(), format))
        assert (picture.remarks, picture.scale) == ((), 1.0)


@pytest.mark.parametrize(("side", "scale"), [(99, 1), (101, 1 / 2), (201, 1 / 4), (500, 1 / 8), (799, 1 / 8)])
def test_a_huge_jpeg_is_decoded_at_a_fraction_of_its_size(
    monkeypatch: pytest.MonkeyPatch, side: int, scale: float
) -> None:
    """With a limit that tests can afford."""
    monkeypatch.setattr(images, "MAX_PIXELS", 100 * 100)
    exif = Image.Exif()
    exif[0x0112] = 6
    left_half = Image.new("L", (2 * side, side // 2), 20)
    left_half.paste(230, (0, 0, side, side // 2))
    picture = decode_picture(encoded(left_half, "JPEG", exif=exif))
    assert picture.scale == scale
    height, width = picture.pixels.shape[:2]
    assert abs(height / scale - 2 * side) < 8
    assert abs(width / scale - side // 2) < 8
    assert picture.pixels[: height // 2 - 4].min() > 200
    assert picture.pixels[height // 2 + 4 :].max() < 50


def test_a_jpeg_too_large_for_any_fraction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_MAX_JPEG_PIXELS", 5000)
    monkeypatch.setattr(images, "_MAX_PROGRESSIVE_PIXELS", 3000)
    decode_image(encoded(gradient(), "JPEG"))
    for width, options in ((128, {}), (64, {"progressive": True})):
        with pytest.raises(UnusableError, match="too many pixels"):
            decode_image(encoded(gradient(width), "JPEG", **options))


def test_ten_bits_of_heif_and_its_further_pictures(tmp_path: Path) -> None:
    deep = (np.asarray(gradient()).astype(np.uint16) * 257) & 0xFFC0
    file = pillow_heif.from_bytes("RGB;16", (64, 48), deep.tobytes())
    file.save(tmp_path / "deep.heic", quality=95)
    picture = decode_picture(tmp_path / "deep.heic")
    assert np.abs(picture.pixels.astype(int) - np.asarray(gradient())).mean() < 6
    assert picture.remarks == ()
    file = pillow_heif.from_pillow(gradient())
    file.add_from_pillow(Image.new("RGB", (64, 48)))
    file.save(tmp_path / "two.heic")
    picture = decode_picture(tmp_path / "two.heic")
    assert [(remark.reason, remark.count) for remark in picture.remarks] == [("further pictures", 1)]
    assert np.abs(picture.pixels.astype(int) - np.asarray(gradient())).mean() < 8


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


@pytest.mark.parametrize("format", [*FORMATS, "HEIF", "deep TIFF", "deep PNG"])
def test_damage_anywhere_is_one_kind_of_error(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Readers raise what they please; here it is one error, or a picture, and nothing is printed."""
    if format.startswith("deep"):
        deep = np.asarray(gradient()).astype(np.uint16) * 257
        whole = encoded_by_opencv(".png" if "PNG" in format else ".tif", deep)
    else:
        whole = encoded(gradient(), format)
    random = np.random.default_rng(0)
    refused = 0
    capfd.readouterr()
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(min(len(data), 400), size=4):
            data[place] = random.integers(256)
        try:
            decode_image(bytes(data))
        except UnusableError:
            refused += 1
    assert refused > 5
    assert capfd.readouterr().err == ""


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would wait for ever
    (tmp_path / "large.jpg").write_bytes(bytes(2000))
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 1000)
    for name, reason in (
        ("empty.jpg", "empty file"),
        ("folder.jpg", "unreadable: not a regular file"),
        ("link.jpg", "unreadable: the link leads nowhere"),
        ("pipe.jpg", "unreadable: not a regular file"),
        ("large.jpg", "file too large"),
    ):
        with pytest.raises(UnusableError, match=reason):
            read_file(tmp_path / name)


def test_jpeg_round_trip_is_close() -> None:
    image = np.asarray(gradient())
    assert np.abs(decode_image(encode_jpeg(image)).astype(int) - image).mean() < 3
