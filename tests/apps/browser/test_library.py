"""What all sessions share: the pool, thumbnails, and the search for hands in uploaded pictures."""

import base64
import errno
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.browser.library import (
    THUMBNAIL_PX,
    UPLOAD_LIMIT_MB,
    HandFinder,
    Library,
    Thumbnails,
    encode_thumbnail,
    limit_size,
)
from apps.browser.serve import BrowserSettings
from handsim import Pool
from handsim.errors import HandsimError, NotThereError
from handsim.images import encode_jpeg
from tests.apps.browser.builders import build_huge_png
from tests.apps.browser.index.versions import more_hands


def test_the_pool_is_opened_again_when_hands_were_added_and_only_then(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    pool = library.open_pool()
    assert library.open_pool() is pool
    more_hands(own_home, 10)
    assert len(library.open_pool()) == 70
    assert library.open_pool() is library.open_pool()


def test_a_command_line_names_the_home_as_a_shell_reads_it(tmp_path: Path) -> None:
    library = Library(BrowserSettings(tmp_path / "my hands"))
    assert library.format_command("index build") == f"handsim --home '{tmp_path}/my hands' index build"


def decode(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


def test_a_small_crop_is_read_once_and_sent_as_it_is_stored(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "pool", tmp_path / "pool")
    pool, thumbnails = Pool.open(tmp_path / "pool"), Thumbnails()
    hand = int(pool.hand_ids[0])
    uri = thumbnails.get_uri(pool, hand)
    assert np.array_equal(np.asarray(decode(uri)), pool.crop(hand))
    for tar in (tmp_path / "pool").rglob("*.tar"):
        tar.write_bytes(b"")
    assert thumbnails.get_uri(pool, hand) == uri
    assert thumbnails.get_uri(pool, int(pool.hand_ids[1])) is None  # damaged


def test_a_temporary_error_is_not_cached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, thumbnails = Pool.open(home / "pool"), Thumbnails()
    hand = int(pool.hand_ids[0])

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "open", fail)
        assert thumbnails.get_uri(pool, hand) is None
    assert thumbnails.get_uri(pool, hand) is not None


def test_a_damaged_crop_is_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, thumbnails = Pool.open(home / "pool"), Thumbnails()
    reads: list[int] = []

    def read(hand_id: int) -> bytes:
        reads.append(hand_id)
        return b"no picture"

    monkeypatch.setattr(pool, "crop_size_px", THUMBNAIL_PX + 1)
    monkeypatch.setattr(pool, "crop_jpeg", read)
    assert [thumbnails.get_uri(pool, 7), thumbnails.get_uri(pool, 7)] == [None, None]
    assert reads == [7]


def test_the_cache_of_thumbnails_is_bounded(home: Path) -> None:
    pool, thumbnails = Pool.open(home / "pool"), Thumbnails(10)
    for hand in pool.hand_ids[:30].tolist():
        assert thumbnails.get_uri(pool, hand)
    assert len(thumbnails) == 10


def test_a_large_picture_becomes_a_small_thumbnail() -> None:
    picture = np.full((900, 900, 3), 128, np.uint8)
    assert decode(encode_thumbnail(picture)).size == (THUMBNAIL_PX, THUMBNAIL_PX)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"this is no picture, whatever its name", "not an image"),
        (b"", "not an image"),
        (b"\0" * (UPLOAD_LIMIT_MB * 2**20 + 1), "at most 25 MB"),
        (build_huge_png(30_000), "too many pixels"),
        (encode_jpeg(np.zeros((200, 200, 3), np.uint8))[:400], "(truncated|corrupt) image"),
    ],
    ids=["text", "empty", "bytes", "pixels", "truncated"],
)
def test_a_bad_file_is_refused_before_a_model_is_needed(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=message):
        HandFinder(tmp_path / "no.task").find(data)


def test_the_error_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="handsim models fetch"):
        HandFinder(tmp_path / "no.task").find(encode_jpeg(np.zeros((64, 64, 3), np.uint8)))


@pytest.mark.slow
def test_hands_are_found_in_a_picture(home: Path, model_path: Path) -> None:
    pool, finder = Pool.open(home / "pool"), HandFinder(model_path)
    with pytest.raises(HandsimError, match="no hand was found"):
        finder.find(encode_jpeg(np.full((64, 64, 3), 90, np.uint8)))
    (hand,) = finder.find(pool.crop_jpeg(int(pool.hand_ids[0])))
    assert np.linalg.norm(hand.keypoints[:, :2].mean(0) - 0.5) < 0.2


def test_only_pictures_above_the_limit_are_reduced() -> None:
    large = np.zeros((200, 400, 3), np.uint8)
    large[:, 200:] = 240
    reduced = limit_size(large, 100)
    assert reduced.shape == (50, 100, 3)
    assert reduced[25, 20].max() == 0
    assert reduced[25, 80].min() == 240
    assert limit_size(reduced, 100) is reduced
