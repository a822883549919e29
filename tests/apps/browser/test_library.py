"""What all sessions share: the home, thumbnails, hands in pictures, errors that are retried, the trail."""

import base64
import errno
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

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
from index import Catalog, open_catalog
from tests.apps.browser.builders import more_hands
from tests.handsim.builders import png_that_claims


def test_the_pool_is_opened_again_when_hands_were_added_and_only_then(own_home: Path) -> None:
    library = Library(BrowserSettings(own_home))
    pool = library.open_pool()
    assert library.open_pool() is pool
    more_hands(own_home, 10)
    assert len(library.open_pool()) == 70
    assert library.open_pool() is library.open_pool()


def test_a_slow_server_stalls_one_session_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_one_waits, answer = Event(), Event()
    lock = Lock()

    def connect(*arguments: Any, **options: Any) -> Catalog:
        if lock.acquire(blocking=False):  # the first session
            slow_one_waits.set()
            assert answer.wait(60)
        return open_catalog(*arguments, **options)

    monkeypatch.setattr("apps.browser.library.open_catalog", connect)
    library = Library(BrowserSettings(home))
    with ThreadPoolExecutor(1) as sessions:
        slow = sessions.submit(lambda: library.catalog)
        assert slow_one_waits.wait(60)
        catalog = library.catalog
        assert not slow.done()
        answer.set()
        assert slow.result(60) is catalog


def test_a_command_line_names_the_home_as_a_shell_reads_it(tmp_path: Path) -> None:
    library = Library(BrowserSettings(tmp_path / "my hands"))
    assert library.format_command("index build") == f"handsim --home '{tmp_path}/my hands' index build"


def decode(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


def test_a_small_crop_is_read_once_and_sent_as_it_is(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "pool", tmp_path / "pool")
    pool, thumbnails = Pool.open(tmp_path / "pool"), Thumbnails()
    hand = int(pool.hand_ids[0])
    uri = thumbnails.get_uri(pool, hand)
    sent = np.asarray(decode(uri)).astype(int)
    assert sent.shape == pool.crop(hand).shape
    assert np.abs(sent - pool.crop(hand)).mean() < 2  # cut out of the stored picture, and compressed again
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


def test_a_bad_file_is_refused_before_a_model_is_needed(tmp_path: Path) -> None:
    finder, picture = HandFinder(tmp_path / "no.task"), encode_jpeg(np.zeros((200, 200, 3), np.uint8))
    for data, message in (
        (b"this is no picture, whatever its name", "not an image"),
        (b"", "not an image"),
        (b"\0" * (UPLOAD_LIMIT_MB * 2**20 + 1), "at most 25 MB"),
        (png_that_claims(20_000, 20_000), "too many pixels"),
        (picture[:400], "(truncated|corrupt) image"),
    ):
        with pytest.raises(HandsimError, match=message):
            finder.find(data)
    with pytest.raises(NotThereError, match="handsim models fetch"):
        finder.find(picture)


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
    assert (reduced[25, 20].max(), reduced[25, 80].min()) == (0, 240)
    assert limit_size(reduced, 100) is reduced


def _fail_twice() -> None:
    import streamlit as st

    from apps.browser.ui import show_errors
    from handsim.errors import NotThereError

    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    for name in ("model", "index"):
        with show_errors():
            raise NotThereError(f"no {name}")


def test_two_failed_parts_of_a_page_wait_for_the_clock_before_they_are_tried_again() -> None:
    page = AppTest.from_function(_fail_twice, default_timeout=60).run()
    messages = [info.value for info in page.info]
    assert messages == ["**Not there yet.** no model", "**Not there yet.** no index"]
    assert page.session_state["runs"] == 1


def _ask_three_times() -> None:
    from apps.browser import session
    from apps.browser.search.question import Question

    session.ask(Question(hand=1))
    session.ask(Question(hand=1, k=3))
    session.ask(Question(hand=2).with_mark(3, like=True))


def test_the_trail_has_a_question_once_whatever_its_conditions() -> None:
    page = AppTest.from_function(_ask_three_times, default_timeout=60).run()
    assert [question.hand for question in page.session_state["search_trail"]] == [1]
    assert "0000000000000002.0000000000000003" in page.query_params["like"]
