"""Thumbnails: read once, bounded."""

import base64
import errno
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.browser.library import SIDE_PX, Thumbnails, encode_thumbnail
from handsim import Pool


def opened(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


def test_a_crop_is_read_once_and_goes_as_it_is_stored(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "pool", tmp_path / "pool")
    pool, thumbnails = Pool.open(tmp_path / "pool"), Thumbnails()
    hand = int(pool.hand_ids[0])
    first = thumbnails.uri(pool, hand)
    assert np.array_equal(np.asarray(opened(first)), pool.crop(hand))
    for tar in (tmp_path / "pool").rglob("*.tar"):
        tar.write_bytes(b"")
    assert thumbnails.uri(pool, hand) == first
    assert thumbnails.uri(pool, int(pool.hand_ids[1])) is None  # damaged, and no reason to fail


def test_what_passes_is_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, thumbnails = Pool.open(home / "pool"), Thumbnails()
    hand = int(pool.hand_ids[0])

    def full(path: Path, flags: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("handsim.pool.crops.os.open", full)
        assert thumbnails.uri(pool, hand) is None
    assert thumbnails.uri(pool, hand) is not None


def test_a_damaged_picture_is_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, thumbnails = Pool.open(home / "pool"), Thumbnails()
    reads: list[int] = []

    def damaged(hand_id: int) -> bytes:
        reads.append(hand_id)
        return b"no picture"

    monkeypatch.setattr(pool, "crop_size_px", SIDE_PX + 1)
    monkeypatch.setattr(pool, "crop_jpeg", damaged)
    assert [thumbnails.uri(pool, 7), thumbnails.uri(pool, 7)] == [None, None]
    assert reads == [7]


def test_no_more_are_kept_than_fit(home: Path) -> None:
    pool, thumbnails = Pool.open(home / "pool"), Thumbnails(kept=10)
    for hand in pool.hand_ids[:30].tolist():
        assert thumbnails.uri(pool, hand)
    assert len(thumbnails) == 10


def test_large_pictures_are_made_small() -> None:
    drawn = np.full((900, 900, 3), 128, np.uint8)
    assert opened(encode_thumbnail(drawn)).size == (SIDE_PX, SIDE_PX)
