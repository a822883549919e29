"""Hands followed through videos that are shared out in stretches: blobs of colour play the hands."""

import os
import shutil
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handsim import Hand, HandsimError, Pool
from handsim.detection import Detection
from handsim.hand import Side
from handsim.ingest import IngestOptions, IngestReport, ingest, tracks
from handsim.ingest.items import Item, ItemResult, file_keys
from handsim.ingest.known import KnownItems
from handsim.ingest.plan import plan_ingest
from handsim.ingest.tracks import NOT_MOVED, SIDE_BY_TRACK, SINGLE_FRAME, TrackJoiner
from handsim.ingest.worker import process_item
from handsim.pool.crops import decode_crop

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 220, 20), (20, 20, 220), (230, 230, 230)
SIDES: dict[tuple[int, int, int], Side] = {RED: "left", GREEN: "right", BLUE: "right", WHITE: "left"}
RATE = 10
"""Frames a second of the videos, all of which are sampled: a stretch has 6.4 s."""

Blob = tuple[tuple[int, int, int], float, float]
"""Colour, and the centre in pixels."""


class SteadyDetector:
    """Finds each colour's blob as a hand with a pose of its own."""

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        return [[found for colour in SIDES if (found := self.find(picture, colour))] for picture in pictures]

    def find(self, picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> Detection | None:
        rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).max(axis=2) < 60)
        if len(rows) < 40:
            return None
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
        keypoints_px = np.zeros((21, 3), dtype=np.float32)
        keypoints_px[:, :2] = low + (high - low) * np.random.default_rng(colour).random((21, 2))
        side, score = self.tell_side(colour, int(low[0]))
        return Detection(side, 0.9, keypoints_px, side_score=score)

    def tell_side(self, colour: tuple[int, int, int], x: int) -> tuple[Side, float]:
        return SIDES[colour], 0.95

    def close(self) -> None: ...


class FlickeringDetector(SteadyDetector):
    """Takes a hand for the other side at every fourth place, and does not know at others."""

    def tell_side(self, colour: tuple[int, int, int], x: int) -> tuple[Side, float]:
        if x % 4 == 0:
            return ("left" if SIDES[colour] == "right" else "right"), 0.7
        return ("unknown", 0.5) if x % 7 == 0 else (SIDES[colour], 0.9)


def paint(blobs: list[Blob]) -> NDArray[np.uint8]:
    """Grey, on which each blob is brighter on its left."""
    picture = np.full((200, 320, 3), 90, dtype=np.uint8)
    for colour, x, y in blobs:
        left, top = round(x) - 20, round(y) - 20
        picture[top : top + 40, left : left + 40] = colour
        picture[top : top + 40, left : left + 10] = np.array(colour) + 25
    return picture


def write_blobs(path: Path, blobs: Callable[[int], list[Blob]], frames: int) -> Path:
    """A video of blobs."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 200, "yuv444p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(paint(blobs(number)), format="rgb24")))
        container.mux(stream.encode())
    return path


def play(number: int) -> list[Blob]:
    """Red and blue cross at the end of the first stretch; green leaves and comes back; white is no hand."""
    blobs: list[Blob] = [(RED, 30 + 2 * number, 60), (BLUE, 290 - 2 * number, 90)]
    if not 40 <= number < 80:
        blobs.append((GREEN, 160 + 40 * np.sin(number / 5), 160))
    if number in (20, 100):
        blobs.append((WHITE, 281, 160))
    return blobs


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("videos") / "play.mkv", play, 130)


@pytest.fixture(scope="module")
def flickering(video: Path) -> list[ItemResult]:
    """What a worker finds in each stretch of the video."""
    return [process_item(item, FlickeringDetector()) for item in items_of(video)]


OPTIONS = IngestOptions(samples_per_s=RATE)


def by_colour(pool: Pool) -> dict[int, list[int]]:
    """Rows of the hands of each colour, by its place in `SIDES`, in the order of their frames."""
    rows = defaultdict(list)
    for row in np.argsort(pool.frames, kind="stable").tolist():
        middle = pool.crop(int(pool.hand_ids[row]))[100:124, 100:124].reshape(-1, 3).mean(axis=0)
        rows[int(np.abs(np.array(list(SIDES)) - middle).sum(axis=1).argmin())].append(row)
    return rows


@pytest.mark.slow
def test_tracks_and_sides_of_hands_that_cross_leave_and_come_back(
    video: Path, flickering: list[ItemResult], tmp_path: Path
) -> None:
    report = ingest([video], tmp_path / "pool", FlickeringDetector, OPTIONS, workers=2)
    pool = Pool.open(tmp_path / "pool")
    tracks = {colour: pool.tracks[rows].tolist() for colour, rows in by_colour(pool).items()}
    red, green, blue, white = (list(Counter(tracks[colour]).values()) for colour in range(4))
    assert (red, green, blue, white) == ([130], [40, 50], [130], [1, 1])
    assert len({track for its in tracks.values() for track in its}) == report.tracks == 6
    assert {int(pool.tracks[row]) for row in np.flatnonzero(pool.tracks == pool.hand_ids)} == set(
        pool.tracks.tolist()
    )  # a track has the id of its first hand

    results = [process_item(item, SteadyDetector(), enlargement=2.6) for item in items_of(video)]
    steady = [hand for result in results for hand in result.hands]
    assert len(steady) == len(pool)
    hands = list(pool.hands(pool.rows([hand.hand_id for hand, _ in steady])))
    for hand, (expected, jpeg) in zip(hands, steady, strict=True):
        assert hand.side == expected.side
        np.testing.assert_allclose(hand.keypoints, expected.keypoints, atol=1e-6)
        assert jpeg is not None
        off = decode_crop(pool.stored_jpeg(hand.hand_id), 0).astype(int) - decode_crop(jpeg, 0)
        assert np.abs(off).mean() < 1
    notes = report.findings.notes
    assert (notes[SINGLE_FRAME].count, NOT_MOVED in notes) == (2, False)
    found = [hand for result in flickering for hand, _ in result.hands]
    errors = sum(hand.side != one.side for hand, one in zip(hands, found, strict=True))
    assert notes[SIDE_BY_TRACK].count == errors > 100


@pytest.mark.slow
def test_a_stopped_ingest_goes_on_with_the_same_tracks(
    video: Path, flickering: list[ItemResult], tmp_path: Path
) -> None:
    def stop(report: IngestReport) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    copy = Path(shutil.copy(video, tmp_path / "play.mkv"))
    assert ingest(
        [copy], tmp_path / "pool", FlickeringDetector, OPTIONS, workers=1, progress=stop
    ).interrupted
    assert 0 < len(Pool.open(tmp_path / "pool")) < 250
    copy = copy.rename(tmp_path / "moved.mkv")  # what is done is then known by its content alone
    ingest([copy], tmp_path / "pool", FlickeringDetector, OPTIONS, workers=1)
    pool, (whole, _) = Pool.open(tmp_path / "pool"), link(video, flickering)
    assert len(whole) == len(pool)
    assert_equal(
        list(pool.hands(pool.rows([hand.hand_id for hand, _ in whole]))), [hand for hand, _ in whole]
    )


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_tracks_do_not_depend_on_the_order_in_which_stretches_are_done(
    video: Path, flickering: list[ItemResult], order: Sequence[int]
) -> None:
    options = replace(OPTIONS, min_motion=0.05)
    first, report = link(video, flickering, options=options)
    other, same = link(video, flickering, order, options)
    assert_equal([hand for hand, _ in other], [hand for hand, _ in first])
    assert [crop for _, crop in other] == [crop for _, crop in first]
    assert same.to_json() == report.to_json()


def test_while_much_waits_for_one_stretch_no_others_are_given_out(
    video: Path, flickering: list[ItemResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks, "_MAX_HELD_BYTES", 1000)
    first, second, third = items_of(video)
    joiner = TrackJoiner([first, second, third], [first, second, third], KnownItems(), None, IngestReport([]))
    throttled = joiner.throttle(iter([first, second, third]))
    assert [next(throttled), next(throttled)] == [first, second]
    assert list(joiner.add(second, replace(flickering[1]))) == []
    assert [next(throttled), next(throttled)] == [None, None]
    assert [item for item, _ in joiner.add(first, replace(flickering[0]))] == [first, second]
    assert list(throttled) == [third]


def still(number: int) -> list[Blob]:
    """A hand that rests for 90 frames, but for a pixel, then moves."""
    return [(GREEN, 60 + number % 2 + 4 * max(number - 90, 0), 100)]


def test_a_hand_that_does_not_move_is_kept_once(tmp_path: Path) -> None:
    video = write_blobs(tmp_path / "still.mkv", still, 130)
    results = [process_item(item, SteadyDetector()) for item in items_of(video)]
    hands, report = link(video, results, (1, 2, 0), replace(OPTIONS, min_motion=0.05))
    frames = [hand.frame for hand, _ in hands]
    assert [frame for frame in frames if frame <= 90] == [0]
    assert len(frames) > 30
    assert len({hand.track for hand, _ in hands}) == 1
    assert report.findings.notes[NOT_MOVED].count == 130 - len(frames)
    assert len(link(video, results)[0]) == 130


def test_hands_of_an_animation_are_followed_too(tmp_path: Path) -> None:
    frames = [Image.fromarray(paint(play(number))) for number in range(0, 60, 6)]
    frames[0].save(tmp_path / "play.gif", save_all=True, append_images=frames[1:], duration=600)
    (item,) = items_of(tmp_path / "play.gif")
    report = IngestReport([])
    joiner = TrackJoiner([item], [item], KnownItems(), None, report)
    ((_, result),) = joiner.add(item, process_item(item, SteadyDetector()))
    assert Counter(Counter(hand.track for hand, _ in result.hands).values()) == {10: 2, 7: 1}
    assert result.tracks is None  # there is no next stretch


def test_only_an_ingest_with_another_least_motion_is_other_work(video: Path) -> None:
    keys = [
        [item.keys.key for item in items_of(video, replace(OPTIONS, min_motion=share))] for share in SHARES
    ]
    status, work = video.stat(), ["video", "local", RATE, 0, 64, ""]
    assert keys[0][0] == file_keys(video, status.st_size, status.st_mtime_ns, work, []).key
    assert len({key for its in keys for key in its}) == 3 * len(SHARES)
    for share in (0, -1, 1.5):
        with pytest.raises(HandsimError, match="--min-motion"):
            IngestOptions(min_motion=share)


SHARES = (None, 0.05, 0.1)


def items_of(video: Path, options: IngestOptions = OPTIONS) -> list[Item]:
    return plan_ingest([video], options).files


def link(
    video: Path,
    results: Sequence[ItemResult],
    order: Sequence[int] = (0, 1, 2),
    options: IngestOptions = OPTIONS,
) -> tuple[list[tuple[Hand, bytes | None]], IngestReport]:
    """The hands of a video of three stretches, whose results come in an order, and what was counted."""
    items, report = items_of(video, options), IngestReport([])
    joiner = TrackJoiner(items, items, KnownItems(), options.min_motion, report)
    released: list[tuple[Item, ItemResult]] = []
    for place in order:
        result = replace(results[place], hands=list(results[place].hands), frames=list(results[place].frames))
        released += joiner.add(items[place], result)
    assert [item for item, _ in released] == items
    return [hand for _, result in released for hand in result.hands], report


def assert_equal(hands: Sequence[Hand], expected: Sequence[Hand]) -> None:
    for one, other in zip(hands, expected, strict=True):
        assert (one.hand_id, one.side, one.track) == (other.hand_id, other.side, other.track)
        # Those of a pool went through the unit square of its picture: two roundings.
        np.testing.assert_allclose(one.keypoints, other.keypoints, rtol=0, atol=2e-7)
