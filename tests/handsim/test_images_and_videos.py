import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.errors import UnusableError
from handsim.images import decode_image, encode_jpeg, read_file
from tests.handsim.builders import png_that_claims


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
