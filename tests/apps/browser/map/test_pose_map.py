"""Maps and their files; the hands within an outline, their summary, and the colour codes of all hands."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.browser.map.colouring import (
    HUES,
    MAX_CLASSES,
    OTHERS,
    SHADES,
    UNKNOWN,
    colour_classes,
    colour_hues,
    colour_scale,
    colour_tracks,
)
from apps.browser.map.pose_map import (
    find_map_file,
    map_file,
    read_map_file,
    remove_obsolete,
    write_map_file,
)
from apps.browser.map.selection import (
    MAX_CORNERS,
    choose_rows,
    find_rows_within,
    parse_outline,
    summarise,
)
from handsim.errors import HandsimError, NotThereError
from handsim.pool.reader import Categorical
from index import VersionInfo
from tests.apps.browser.builders import NEWER, build_map

DAMAGED = "is not a map, or damaged; make the map again"


def build_info(name: str = "v0001", checksum: str = "3-0123456789abcdef") -> VersionInfo:
    return replace(NEWER, name=name, checksum=checksum)


def test_a_hand_is_found_by_its_id() -> None:
    pose_map = build_map(np.zeros((4, 2)))
    rows = [pose_map.find_row(hand) for hand in (10, 40, 15, 5, 50, 2**63 - 1)]
    assert rows == [0, 3, None, None, None, None]
    assert pose_map.find_rows([10, 40, 15, 5, 50]).tolist() == [0, 3, -1, -1, -1]
    assert build_map(np.zeros((0, 2))).find_rows([10]).tolist() == [-1]


def test_the_drawing_order_is_random_and_always_the_same() -> None:
    pose_map = build_map(np.zeros((500, 2)))
    order = pose_map.drawing_order
    assert sorted(order.tolist()) == list(range(500))
    assert 150 < np.median(order[:50]) < 350  # its beginning is from all over
    np.testing.assert_array_equal(order, build_map(np.zeros((500, 2))).drawing_order)


def test_a_map_survives_its_file(tmp_path: Path) -> None:
    pose_map = build_map(
        np.array([[0, 0], [0.5, 1], [1, 0.25]]),
        videos=["a\0", "", "ü" * 300],
        labels=["x", None, "x"],
        distances=[0.25, np.nan, 3],
    )
    file = map_file(tmp_path / "maps", build_info())
    write_map_file(pose_map, file)
    read = read_map_file(file)
    assert read.matches(build_info())
    assert not read.matches(build_info(checksum="3-ffffffffffffffff"))
    assert read.matches(build_info(name="v0002"))  # a later version of the same hands
    for name in ("hand_ids", "places", "distances"):
        np.testing.assert_array_equal(getattr(read, name), getattr(pose_map, name), strict=True)
    for name in ("sources", "videos", "labels"):
        assert getattr(read, name).values() == getattr(pose_map, name).values()
    assert read.hands_in_version == 3
    assert [path.name for path in file.parent.iterdir()] == ["v0001-3-0123456789abcdef.npz"]


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    about = {
        "format": 1,
        "version": "v0001",
        "checksum": "2-0123456789abcdef",
        "hands_in_version": 5,
        "names": {"sources": ["ego4d"], "videos": ["a", "b"], "labels": []},
    }
    file = tmp_path / "v0001-2-0123456789abcdef.npz"
    np.savez(
        file,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        hand_ids=np.array([3, 9], np.uint64),
        places=np.array([[0, 0.5], [1, 0.5]], np.float32),
        distances=np.array([0.1, np.nan], np.float32),
        sources=np.array([0, 0], np.int32),
        videos=np.array([1, 0], np.int32),
        labels=np.array([-1, -1], np.int32),
    )
    read = read_map_file(file)
    assert read.hands_in_version == 5
    assert (read.videos.values(), read.labels.values()) == (["b", "a"], [None, None])


def test_a_file_that_is_no_map_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v0001.npz"
    with pytest.raises(NotThereError, match="there is no map at"):
        read_map_file(file)
    write_map_file(build_map([[0, 0], [1, 1]]), file)
    whole = file.read_bytes()
    for damaged in (b"", b"PK\x03\x04", whole[:200], whole[: len(whole) // 2], b"\0" * 1000):
        file.write_bytes(damaged)
        with pytest.raises(HandsimError, match=DAMAGED):
            read_map_file(file)
    for arrays in ({"hand_ids": np.arange(3)}, {"about": np.array([{"format": 1}], dtype=object)}):
        np.savez(file, **arrays)
        with pytest.raises(HandsimError, match=DAMAGED):
            read_map_file(file)
    with monkeypatch.context() as later:
        later.setattr("apps.browser.map.pose_map._FORMAT", 2)
        write_map_file(build_map([[0, 0]]), file)
    with pytest.raises(HandsimError, match="is of another version of handsim"):
        read_map_file(file)


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    pose_map = build_map([[0, 0], [1, 1]])
    inconsistent = [
        replace(pose_map, hand_ids=pose_map.hand_ids[:1]),
        replace(pose_map, places=pose_map.places[:, :1]),
        replace(pose_map, places=pose_map.places * np.float32(np.nan)),
        replace(pose_map, distances=pose_map.distances[:, None]),
        replace(pose_map, videos=replace(pose_map.videos, names=("only one",))),
    ]
    for number, each in enumerate(inconsistent):
        file = tmp_path / f"v{number}.npz"
        write_map_file(each, file)
        with pytest.raises(HandsimError, match=DAMAGED):
            read_map_file(file)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    for name in ("../v0001", "", "a/b", ".hidden", "v 1"):
        with pytest.raises(HandsimError, match="has other characters than letters"):
            map_file(tmp_path, build_info(name=name, checksum="/x"))


def test_maps_are_removed_with_their_versions(tmp_path: Path) -> None:
    current, older = build_info("v0002", "4-0123456789abcdef"), build_info("v0001")
    gone = build_info("v0002", "3-ffffffffffffffff")  # the same name, other hands
    files = [map_file(tmp_path, each) for each in (current, older, gone)]
    for file in files:
        write_map_file(build_map([[0, 0]]), file)
    half_written = tmp_path / ".v0003-1-00.npz.4711"
    half_written.write_bytes(b"half")
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    removed = remove_obsolete(tmp_path, [current, older])
    assert set(removed) == {files[2], half_written}
    assert set(tmp_path.iterdir()) == {*files[:2], other}


def test_a_later_version_of_the_same_hands_has_the_same_map(tmp_path: Path) -> None:
    older, newer = build_info("v0001"), build_info("v0002")
    assert find_map_file(tmp_path / "nowhere", older) is None
    file = map_file(tmp_path, older)
    write_map_file(build_map([[0, 0]]), file)
    assert find_map_file(tmp_path, older) == find_map_file(tmp_path, newer) == file
    assert find_map_file(tmp_path, build_info("v0001", "3-ffffffffffffffff")) is None
    assert remove_obsolete(tmp_path, [newer]) == []


SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def grid(side: int) -> np.ndarray:
    steps = np.linspace(0, 1, side)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def test_a_square_holds_the_hands_between_its_sides() -> None:
    pose_map = build_map(grid(20))  # none lies on the line
    rows = np.flatnonzero(((pose_map.places > 0.25) & (pose_map.places < 0.75)).all(axis=1))
    np.testing.assert_array_equal(find_rows_within(pose_map, SQUARE), rows)
    np.testing.assert_array_equal(find_rows_within(pose_map, SQUARE[::-1]), rows)


def test_a_hollow_in_the_outline_is_outside() -> None:
    pose_map = build_map([[0.5, 0.3], [0.5, 0.8], [0.1, 0.8], [0.9, 0.8]])
    u_shape = ((0, 0), (1, 0), (1, 1), (0.7, 1), (0.7, 0.5), (0.3, 0.5), (0.3, 1), (0, 1))
    assert find_rows_within(pose_map, u_shape).tolist() == [0, 2, 3]


def winding_number(x: float, y: float, corners: np.ndarray) -> float:
    """How often the outline goes round a place, by the angles under which its corners are seen."""
    angles = np.arctan2(corners[:, 1] - y, corners[:, 0] - x)
    turns = np.diff(np.append(angles, angles[0]))
    return float(((turns + math.pi) % (2 * math.pi) - math.pi).sum()) / (2 * math.pi)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of a busy machine
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=9),
    st.integers(0, 2**32 - 1),
)
def test_a_hand_is_within_if_its_winding_number_is_odd(corners: list[tuple[int, int]], seed: int) -> None:
    outline = tuple((x / 40, y / 40) for x, y in corners)
    places = np.random.default_rng(seed).uniform(0, 1, (25, 2)).astype(np.float32)
    rows = set(find_rows_within(build_map(places), outline).tolist())
    for row, (x, y) in enumerate(places.astype(np.float64)):
        turns = winding_number(x, y, np.array(outline))
        if abs(turns - round(turns)) < 1e-6:  # not on the line
            assert (row in rows) == (round(turns) % 2 == 1)


def test_an_outline_without_an_area_or_beside_the_map_holds_nothing() -> None:
    beside, point, line = ((2, 2), (3, 2), (3, 3)), ((0.5, 0.5),) * 3, ((0, 0.1), (1, 0.1), (0, 0.1))
    for outline in (beside, point, line):
        assert not len(find_rows_within(build_map(grid(21)), outline))


def test_chosen_rows_are_nearest_to_the_middle_or_random() -> None:
    pose_map = build_map(grid(20))
    rows = find_rows_within(pose_map, SQUARE)
    middle = choose_rows(pose_map, rows, 9, "middle")
    from_middle = np.linalg.norm(pose_map.places - 0.5, axis=1)
    assert from_middle[middle].max() <= np.sort(from_middle[rows])[8] + 1e-6
    random = choose_rows(pose_map, rows, 30, "random")
    assert len(set(random.tolist())) == 30
    assert set(random.tolist()) <= set(rows.tolist())
    np.testing.assert_array_equal(random, choose_rows(pose_map, rows, 30, "random"))
    assert from_middle[random].mean() > from_middle[choose_rows(pose_map, rows, 30, "middle")].mean()
    assert sorted(choose_rows(pose_map, rows, 10_000, "random").tolist()) == rows.tolist()


def test_a_summary_counts_hands_videos_and_labels() -> None:
    pose_map = build_map(
        np.zeros((5, 2)),
        videos=["a", "a", "b", "c", "c"],
        labels=["one", "one", "two", None, "one"],
        distances=[1, 2, np.nan, 4, 9],
    )
    some = summarise(pose_map, np.array([0, 1, 2, 3]), pose_map.labels)
    assert (some.hands, some.videos, some.median_distance) == (4, 3, 2.0)
    assert some.labels == (("one", 0.5), ("two", 0.25))
    none = summarise(pose_map, np.array([], dtype=np.intp), pose_map.labels)
    assert (none.hands, none.videos, none.labels, none.median_distance) == (0, 0, (), None)


def test_an_outline_is_parsed_and_a_malformed_one_ignored() -> None:
    malformed: list[object] = [
        *(None, 3, "[[0,0],[1,0],[1,1]]", {}, [], [[0, 0], [1, 1]]),
        *([[0, 0], [1, 0], [1]], [[0, 0], [1, 0], [1, "x"]], [[0, 0], [1, 0], [1, None]]),
        *([[0, 0], [1, 0], [1, math.inf]], [[0, 0], [1, 0], [math.nan, 1]]),
        [[0, 0]] * (MAX_CORNERS + 1),
    ]
    assert all(parse_outline(message) is None for message in malformed)
    assert parse_outline([[0, 0], [1, 0.5], [0.25, 1]]) == ((0.0, 0.0), (1.0, 0.5), (0.25, 1.0))


def test_labels_are_classes_in_alphabetical_order() -> None:
    labels = ["two", None, "one", "two", "two"]
    colouring = colour_classes(Categorical.of(labels))
    assert colouring.kind == "classes"
    assert colouring.classes == (("one", 1), ("two", 3))
    assert colouring.codes.tolist() == [1, UNKNOWN, 0, 1, 1]
    assert (colouring.name_count, colouring.others, colouring.unknown) == (2, 0, 1)
    without = colour_classes(Categorical.of([None] * 3))
    assert (without.classes, without.unknown) == ((), 3)


def test_rare_labels_share_a_code() -> None:
    names = [f"label {number:02}" for number in range(MAX_CLASSES + 3)]
    labels: list[str | None] = [name for number, name in enumerate(names) for _ in range(number + 1)]
    colouring = colour_classes(Categorical.of(labels))
    assert [name for name, _ in colouring.classes] == names[3:]
    assert colouring.others == int((colouring.codes == OTHERS).sum()) == 1 + 2 + 3
    assert sum(count for _, count in colouring.classes) + colouring.others == len(labels)
    for (name, _), code in zip(colouring.classes, range(MAX_CLASSES), strict=True):
        assert {labels[row] for row in np.flatnonzero(colouring.codes == code)} == {name}


def test_many_videos_have_hues_that_depend_on_their_names_alone() -> None:
    few = [f"v{row % MAX_CLASSES}" for row in range(24)]
    assert colour_hues(Categorical.of(few)).kind == "classes"
    videos = [f"v{row % 100}" for row in range(300)]
    many = colour_hues(Categorical.of(videos))
    assert (many.kind, many.classes, many.name_count) == ("hues", (), 100)
    np.testing.assert_array_equal(many.codes[:100], many.codes[100:200])
    assert len(np.unique(many.codes)) > HUES / 2
    assert many.codes.max() < HUES
    other_map = colour_hues(Categorical.of(videos[100:200]))
    np.testing.assert_array_equal(other_map.codes, many.codes[:100])


def test_distances_have_a_scale_that_outliers_do_not_stretch() -> None:
    distances = np.append(np.linspace(1, 3, 1000), [np.nan, 500.0])
    colouring = colour_scale(distances.astype(np.float32))
    assert colouring.kind == "scale"
    assert colouring.ends == pytest.approx((1.04, 2.96), abs=0.01)
    assert (np.diff(colouring.codes[:1000].astype(int)) >= 0).all()
    assert set(colouring.codes[:1000].tolist()) == set(range(SHADES))
    assert colouring.codes[1000:].tolist() == [UNKNOWN, SHADES - 1]
    assert colouring.unknown == 1


@pytest.mark.parametrize("distance", [np.nan, 0.0, 2.0])
def test_equal_distances_have_one_code(distance: float) -> None:
    colouring = colour_scale(np.array([distance] * 3, dtype=np.float32))
    assert len(set(colouring.codes.tolist())) == 1
    assert colouring.unknown == (3 if np.isnan(distance) else 0)


def test_tracks_have_colours_and_hands_in_none_do_not() -> None:
    few = colour_tracks(np.array([7, 0, 9, 7], dtype=np.uint64))
    assert few.classes == (("0000000000000007", 2), ("0000000000000009", 1))
    assert few.codes.tolist() == [0, UNKNOWN, 1, 0]
    many = colour_tracks(np.arange(1, 100, dtype=np.uint64))
    assert (many.kind, many.name_count, many.unknown) == ("hues", 99, 0)
    assert colour_tracks(np.zeros(3, dtype=np.uint64)).unknown == 3
