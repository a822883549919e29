"""Pictures that somebody sends."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from apps.browser.library import LIMIT_MB, HandFinder, limit_size
from handsim import Pool
from handsim.errors import HandsimError, NotThereError
from handsim.images import encode_jpeg


def huge_png(side: int) -> bytes:
    """A sound PNG of side x side white pixels, in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    line = b"\0" + b"\xff" * ((side + 7) // 8)
    packed = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"this is no picture, whatever its name", "not an image"),
        (b"", "not an image"),
        (b"\0" * (LIMIT_MB * 2**20 + 1), "at most 25 MB"),
        (huge_png(30_000), "too many pixels"),
        (encode_jpeg(np.zeros((200, 200, 3), np.uint8))[:400], "(truncated|corrupt) image"),
    ],
    ids=["text", "empty", "bytes", "pixels", "truncated"],
)
def test_what_is_refused_before_a_model_is_needed(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=said):
        HandFinder(tmp_path / "no.task").hands(data)


def test_without_a_model_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="handsim models fetch"):
        HandFinder(tmp_path / "no.task").hands(encode_jpeg(np.zeros((64, 64, 3), np.uint8)))


def test_hands_are_found(home: Path, model_path: Path) -> None:
    pool, finder = Pool.open(home / "pool"), HandFinder(model_path)
    with pytest.raises(HandsimError, match="no hand was found"):
        finder.hands(encode_jpeg(np.full((64, 64, 3), 90, np.uint8)))
    seen = finder.hands(pool.crop_jpeg(int(pool.hand_ids[0])))
    assert len(seen) == 1
    assert np.linalg.norm(seen[0].keypoints[:, :2].mean(0) - 0.5) < 0.2


def test_large_pictures_are_made_smaller_and_others_left_alone() -> None:
    large = np.zeros((200, 400, 3), np.uint8)
    large[:, 200:] = 240
    smaller = limit_size(large, 100)
    assert smaller.shape == (50, 100, 3)
    assert smaller[25, 20].max() == 0
    assert smaller[25, 80].min() == 240
    assert limit_size(smaller, 100) is smaller
