"""Hands of a pool in the formats of other tools: what each holds, and that other tools open it."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from handsim import Hand, HandsimError, Pool, PoolWriter
from handsim.coco import annotation_to_hand, hand_to_annotation
from handsim.errors import UnusableError
from handsim.hand import format_hand_id
from handsim.ingest import ingest
from handsim.pool.compact import compact
from handsim.pool.export import ExportedHands
from handsim.pool.export.coco import write_coco
from handsim.pool.export.fiftyone import write_fiftyone
from handsim.pool.export.parquet import Places, write_parquet
from handsim.pool.export.webdataset import write_webdataset
from handsim.pool.layout import published_parts
from handsim.pool.removal import remove
from handsim.pool.selection import Selection
from handsim.skeleton import JOINT_NAMES
from tests.handsim.builders import BrightnessDetector, add_hands, make_hand, make_jpeg, make_partial_hand
from tests.handsim.killing import kill_at_every_step

UNLABELLED = [3, 20]
HANDS = 20
SCORES = np.where(np.arange(21) == 4, np.nan, 0.75).astype(np.float32)

Write = Callable[[Path, ExportedHands], str]


def say_nothing(done: int, total: int) -> None: ...


WRITERS: dict[str, Write] = {
    "coco": lambda out, hands: write_coco(out, hands, say_nothing),
    "hands.parquet": lambda out, hands: write_parquet(out, hands, say_nothing, places=None),
    "webdataset": lambda out, hands: write_webdataset(out, hands, say_nothing, shard_hands=5),
    "fiftyone": lambda out, hands: write_fiftyone(out, hands, say_nothing),
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """20 hands with crops in parts of 8, the last two of them odd, and one hand without a crop."""
    path = add_hands(tmp_path_factory.mktemp("export") / "pool", range(HANDS - 2), part_hands=8)
    with PoolWriter(path) as writer:
        writer.add(make_partial_hand(18, UNLABELLED), make_jpeg(18))
        odd = {"joint_scores": SCORES, "external_id": "h19", "external_positives": ("a", "b"), "track": 7}
        writer.add(make_hand(19, video="ein Ü\n{}", **odd), make_jpeg(19))
        writer.add(make_hand(20))
    return Pool.open(path)


@pytest.fixture(scope="module")
def answer(pool: Pool) -> ExportedHands:
    """Hands 19, 2, 18, 20 and 7 as the answer of a query."""
    ids = [int(pool.hand_ids[row]) for row in (19, 2, 18, 20, 7)]
    distances = {hand_id: 0.25 * rank for rank, hand_id in enumerate(ids)}
    return ExportedHands.select(pool, Selection(ids=tuple(ids), distances=distances))


def assert_same(hand: Hand, expected: Hand) -> None:
    names = ("hand_id", "source", "video", "frame", "side", "label", "file", "external_id", "track")
    for name in (*names, "external_positives"):
        assert getattr(hand, name) == getattr(expected, name), name
    assert hand.score == pytest.approx(expected.score, abs=1e-6)
    np.testing.assert_allclose(hand.keypoints, expected.keypoints, atol=1e-5)
    np.testing.assert_allclose(hand.box_px, expected.box_px, atol=1e-3)
    assert (hand.joint_scores is None) == (expected.joint_scores is None)
    if hand.joint_scores is not None and expected.joint_scores is not None:
        np.testing.assert_allclose(hand.joint_scores, expected.joint_scores, atol=1e-6)


def test_hands_are_read_in_the_order_of_their_rows_as_they_were_written(pool: Pool) -> None:
    rows = np.array([17, 0, 20, 8, 7, 18])
    for row, hand in zip(rows.tolist(), pool.hands(rows), strict=True):
        expected = make_partial_hand(18, UNLABELLED) if row == 18 else make_hand(row)
        assert_same(hand, expected)
    assert list(pool.hands(rows[:0])) == []


def test_removed_hands_are_passed_over_and_the_others_read_as_before(tmp_path: Path) -> None:
    path = add_hands(tmp_path / "pool", range(12), part_hands=4)
    ids = tuple(Pool.open(path).hand_ids[::-1].tolist())
    remove(path, [make_hand(2).hand_id, make_hand(5).hand_id])
    left = [number for number in range(11, -1, -1) if number not in (2, 5)]
    for _ in range(2):
        hands = ExportedHands.select(Pool.open(path), Selection(ids=ids))
        for number, hand in zip(left, hands.read(say_nothing), strict=True):
            assert_same(hand, make_hand(number))
            assert hands.pool.crop_jpeg(hand.hand_id) == make_jpeg(number)
        compact(path)


def test_coco_holds_hands_without_loss(pool: Pool, tmp_path: Path) -> None:
    hands = ExportedHands.select(pool, Selection()).with_pictures()
    write_coco(tmp_path / "coco", hands, say_nothing)
    content = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    (category,) = content["categories"]
    assert category["name"] == "hand"
    assert category["keypoints"] == list(JOINT_NAMES)
    assert {joint for bone in category["skeleton"] for joint in bone} == set(range(1, 22))
    images = {image["id"]: image for image in content["images"]}
    assert len(images) == len(content["annotations"]) == HANDS
    for annotation, expected in zip(content["annotations"], pool.hands(hands.rows), strict=True):
        image = images[annotation["image_id"]]
        picture = (tmp_path / "coco" / image["file_name"]).read_bytes()
        assert picture == pool.crop_jpeg(expected.hand_id)
        assert_same(annotation_to_hand(annotation, image["width"]), expected)
        points = np.reshape(annotation["keypoints"], (21, 3))
        np.testing.assert_array_equal(points[:, 2], np.where(expected.joint_mask, 2, 0))
        np.testing.assert_array_equal(points[~expected.joint_mask], 0)
        assert annotation["num_keypoints"] == expected.joint_mask.sum()
        assert annotation["category_id"] == category["id"]
        x, y, width, height = annotation["bbox"]
        labelled = points[expected.joint_mask, :2]
        assert (labelled >= (x - 0.01, y - 0.01)).all()
        assert (labelled <= (x + width + 0.01, y + height + 0.01)).all()
        assert annotation["area"] == pytest.approx(width * height, abs=0.1)


def test_hands_exported_as_coco_are_ingested_again_as_they_were(pool: Pool, tmp_path: Path) -> None:
    hands = ExportedHands.select(pool, Selection()).with_pictures()
    write_coco(tmp_path / "coco", hands, say_nothing)
    file, again = tmp_path / "coco" / "annotations.json", tmp_path / "pool"
    PoolWriter(again).close()  # of the same crops
    assert ingest([file], again, BrightnessDetector, workers=1).hands_in_pool == HANDS
    back = Pool.open(again)
    for hand in back.hands(back.rows(hands.pool.hand_ids[hands.rows])):
        assert_same(hand, pool.hand(hand.hand_id))
        assert back.crop_jpeg(hand.hand_id) == pool.crop_jpeg(hand.hand_id)
    assert ingest([file], again, BrightnessDetector, workers=1).hands_in_pool == HANDS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("handsim_id", "seven"),
        ("handsim_z", [0.5] * 20),
        ("handsim_frame", 2**63),
        ("handsim_video", "\ud800"),
        ("handsim_label", 3),
        ("handsim_box_px", None),
        ("handsim_score", float("nan")),
        ("keypoints", [[1, 2]]),
        ("keypoints", [10**400, 1, 2] * 21),
    ],
)
def test_an_annotation_that_was_edited_badly_is_unusable_and_says_which_key(key: str, value: Any) -> None:
    annotation = {**hand_to_annotation(make_hand(1), 1, 1, 224), key: value}
    with pytest.raises(UnusableError, match=f"bad annotation: {key} is missing or not as handsim writes it"):
        annotation_to_hand(annotation, 224)


def test_an_annotation_that_is_no_hand_is_unusable_and_says_why() -> None:
    annotation = hand_to_annotation(make_hand(1), 1, 1, 224)
    for key, value, message in (
        ("handsim_side", "up", "side 'up' is neither"),
        ("keypoints", [float("inf"), 1, 2] * 21, "keypoints hold NaN or infinity"),
        ("keypoints", [0] * 63, "none of the 21 joints is labelled"),
    ):
        with pytest.raises(UnusableError, match=f"bad annotation: {message}"):
            annotation_to_hand({**annotation, key: value}, 224)


def test_an_answer_keeps_its_order_and_distances(answer: ExportedHands, tmp_path: Path) -> None:
    names = [format_hand_id(int(answer.pool.hand_ids[row])) for row in answer.rows]
    write_parquet(tmp_path / "hands.parquet", answer, say_nothing, places=None)
    table = pq.read_table(tmp_path / "hands.parquet", columns=["id", "distance"])
    assert table.to_pydict() == {"id": names, "distance": [0, 0.25, 0.5, 0.75, 1]}
    pictured = answer.with_pictures()
    del names[3]
    write_coco(tmp_path / "coco", pictured, say_nothing)
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())["annotations"]
    assert [hand["handsim_id"] for hand in coco] == names
    assert [hand["handsim_distance"] for hand in coco] == [0, 0.25, 0.5, 1]
    write_fiftyone(tmp_path / "fiftyone", pictured, say_nothing)
    samples = json.loads((tmp_path / "fiftyone" / "samples.json").read_text())["samples"]
    assert [(hand["hand_id"], hand["distance"]) for hand in samples] == list(
        zip(names, [0, 0.25, 0.5, 1], strict=True)
    )


def test_parquet_holds_pictures_vectors_and_places(pool: Pool, tmp_path: Path) -> None:
    hands = ExportedHands.select(pool, Selection())
    vectors = np.arange(3.0 * len(hands), dtype=np.float32).reshape(-1, 3)
    vectors[2] = np.nan
    places = Places(vectors, vectors[:, :2], "a test")
    write_parquet(tmp_path / "hands.parquet", hands, say_nothing, places=places)
    rows = pq.read_table(tmp_path / "hands.parquet").to_pylist()
    for row, number in zip(rows, range(len(hands)), strict=True):
        expected = make_partial_hand(18, UNLABELLED) if number == 18 else make_hand(number)
        assert row["id"] == format_hand_id(expected.hand_id)
        assert (row["path"], row["label"], row["side"]) == (expected.file, expected.label, expected.side)
        np.testing.assert_array_equal(np.reshape(row["keypoints"], (21, 3)), expected.keypoints)
        if number == 2:
            assert row["vector"] is row["x"] is row["y"] is None
        else:
            assert [*row["vector"], row["x"], row["y"]] == [*vectors[number], *vectors[number, :2]]
        picture = row["image"] and row["image"]["bytes"]
        assert picture == (None if number == 20 else make_jpeg(number))
    write_parquet(tmp_path / "light.parquet", hands, say_nothing, places=None, pictures=False)
    assert pq.read_table(tmp_path / "light.parquet")["image"].null_count == len(hands)


def test_fiftyone_gets_its_import_format(pool: Pool, tmp_path: Path) -> None:
    hands = ExportedHands.select(pool, Selection()).with_pictures()
    write_fiftyone(tmp_path / "fiftyone", hands, say_nothing)
    metadata = json.loads((tmp_path / "fiftyone" / "metadata.json").read_text())
    assert "version" not in metadata  # with one it would have to be the tables of that release
    assert metadata["info"]["default_skeleton"]["labels"] == list(JOINT_NAMES)
    samples = json.loads((tmp_path / "fiftyone" / "samples.json").read_text())["samples"]
    for sample, hand in zip(samples, pool.hands(hands.rows), strict=True):
        assert (tmp_path / "fiftyone" / sample["filepath"]).read_bytes() == pool.crop_jpeg(hand.hand_id)
        (keypoint,) = sample["keypoints"]["keypoints"]
        assert (sample["keypoints"]["_cls"], keypoint["_cls"]) == ("Keypoints", "Keypoint")
        np.testing.assert_allclose(keypoint["points"], hand.keypoints[:, :2], atol=1e-6)
        assert sample["label"] == (hand.label and {"_cls": "Classification", "label": hand.label})
        assert (sample["video"], sample["side"]) == (hand.video, hand.side)


def test_fiftyone_opens_it(pool: Pool, tmp_path: Path) -> None:
    fiftyone = pytest.importorskip("fiftyone")
    write_fiftyone(tmp_path / "out", ExportedHands.select(pool, Selection()).with_pictures(), say_nothing)
    dataset = fiftyone.Dataset.from_dir(str(tmp_path / "out"), dataset_type=fiftyone.types.FiftyOneDataset)
    points = [sample.keypoints.keypoints[0].points for sample in dataset]
    np.testing.assert_allclose(points, pool.keypoints[:HANDS, :, :2], atol=1e-6)
    assert len(dataset.default_skeleton.edges) == 20


_LOADING = """
import json, sys, warnings
import numpy as np
import webdataset
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
out, parts = json.loads(sys.argv[1])
for workers in (4, 8):
    hands = webdataset.WebDataset(out, shardshuffle=False).decode("rgb8").to_tuple("jpg", "json")
    for picture, description in DataLoader(hands, batch_size=None, num_workers=workers):
        print(json.dumps([workers, np.asarray(picture).sum().item(), description]))
crops = webdataset.WebDataset(parts, shardshuffle=False, empty_check=False).to_tuple("__key__", "jpg")
for key, jpeg in DataLoader(crops, batch_size=None, num_workers=6):
    print(json.dumps(["part", key, jpeg.hex()]))
"""
"""In a process of its own: workers that are forked from one with threads of other libraries may hang."""


def test_processes_that_load_shards_get_each_hand_once(pool: Pool, tmp_path: Path) -> None:
    hands = ExportedHands.select(pool, Selection()).with_pictures()
    write_webdataset(tmp_path / "out", hands, say_nothing)
    shards = sorted(map(str, (tmp_path / "out").iterdir()))
    assert [Path(shard).name for shard in shards] == [f"{number:06d}.tar" for number in range(8)]
    parts = [str(part / "crops.tar") for part in published_parts(pool.path)]
    assert len(parts) == 4  # fewer than the six processes that load them
    command = [sys.executable, "-c", _LOADING, json.dumps([shards, parts])]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    lines = [json.loads(line) for line in printed.splitlines()]
    for workers in (4, 8):
        found = {line[2]["id"]: line[1:] for line in lines if line[0] == workers}
        assert len(found) == sum(line[0] == workers for line in lines) == HANDS
        for hand in pool.hands(hands.rows):
            brightness, description = found[format_hand_id(hand.hand_id)]
            assert brightness == pool.crop(hand.hand_id).sum()
            points = [point or [np.nan] * 3 for point in description["keypoints"]]
            np.testing.assert_allclose(points, hand.keypoints, atol=1e-6)
            assert (description["video"], description["label"]) == (hand.video, hand.label)
    crops = [(int(key, 16), bytes.fromhex(jpeg)) for kind, key, jpeg in lines if kind == "part"]
    assert sorted(crops) == [(hand, pool.crop_jpeg(hand)) for hand in sorted(pool.hand_ids[:HANDS].tolist())]


@pytest.mark.parametrize(
    ("shard_hands", "fewest", "sizes"),
    [(100, 1, [20]), (8, 2, [7, 7, 6]), (100, 4, [5] * 4), (1, 99, [1] * 20)],
)
def test_shards_are_as_many_and_as_large_as_asked(
    pool: Pool, tmp_path: Path, shard_hands: int, fewest: int, sizes: list[int]
) -> None:
    hands = ExportedHands.select(pool, Selection()).with_pictures()
    write_webdataset(tmp_path / "out", hands, say_nothing, shard_hands=shard_hands, fewest_shards=fewest)
    shards = sorted((tmp_path / "out").iterdir())
    assert [len(_names(shard)) // 2 for shard in shards] == sizes


@pytest.mark.parametrize("name", WRITERS)
def test_the_line_of_python_opens_it(answer: ExportedHands, tmp_path: Path, name: str) -> None:
    if name == "fiftyone":
        pytest.importorskip("fiftyone")
    line = WRITERS[name](tmp_path / name, answer.with_pictures())
    scope: dict[str, Any] = {}
    exec(line, scope)
    opened = {"coco": lambda: scope["coco"]["images"], "hands.parquet": lambda: scope["hands"]["id"]}
    assert len(list(opened.get(name, lambda: scope["hands"])())) == 4


def test_embedding_atlas_loads_the_parquet_file(pool: Pool, tmp_path: Path) -> None:
    atlas = pytest.importorskip("embedding_atlas.cli")
    hands = ExportedHands.select(pool, Selection())
    vectors = pool.keypoints[:, :4].reshape(len(hands), -1)
    places = Places(vectors, vectors[:, :2], "a test")
    write_parquet(tmp_path / "hands.parquet", hands, say_nothing, places=places)
    frame = atlas.load_datasets([str(tmp_path / "hands.parquet")])
    np.testing.assert_allclose(frame[["x", "y"]].to_numpy()[:18], vectors[:18, :2])
    np.testing.assert_allclose(np.stack(frame["vector"][:18]), vectors[:18])
    with Image.open(io.BytesIO(frame["image"][0]["bytes"])) as picture:  # the form that its page shows
        assert picture.size == (pool.crop_size_px,) * 2


@pytest.mark.parametrize("name", WRITERS)
def test_an_export_that_is_killed_appears_whole_or_not_at_all(
    answer: ExportedHands, tmp_path: Path, name: str
) -> None:
    hands = answer.with_pictures()
    out, whole = tmp_path / name, tmp_path / "whole" / name
    whole.parent.mkdir()
    WRITERS[name](whole, hands)

    def prepare() -> None:
        if out.is_file():
            out.unlink()
        shutil.rmtree(out, ignore_errors=True)

    def check() -> None:
        assert not out.exists() or _content(out) == _content(whole)

    assert kill_at_every_step(prepare, lambda: WRITERS[name](out, hands), check) > 2
    assert _content(out) == _content(whole)
    with pytest.raises(HandsimError, match="is there already; give another place, or remove it"):
        WRITERS[name](out, hands)
    assert {path.name for path in tmp_path.iterdir()} == {name, "whole"}


def _names(shard: Path) -> list[str]:
    with tarfile.open(shard) as tar:
        return tar.getnames()


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_nothing_to_export_is_said(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"no hand of .* meets these conditions"):
        ExportedHands.select(pool, Selection(videos=("nowhere",)))
    bare = ExportedHands.select(pool, Selection(ids=(int(pool.hand_ids[20]),)))
    with pytest.raises(HandsimError, match="keypoints without pictures of these hands; use --format parquet"):
        bare.with_pictures()
    with pytest.raises(FileNotFoundError, match="is not a directory; make it, or give another place"):
        write_coco(tmp_path / "no" / "where", bare, say_nothing)
