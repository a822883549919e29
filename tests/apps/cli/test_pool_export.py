"""``handsim pool export``: which hands it takes, where vectors and places come from, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from apps.browser.map.pose_map import PoseMap, map_file, maps_folder, write_map_file
from handsim import Pool
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.pool import Categorical
from index import open_catalog
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused


def export_ids(capsys: Capture, home: Path, out: Path, *arguments: str | Path) -> list[str]:
    """Of an export as Parquet, which is removed again."""
    file = out / "hands.parquet"
    run_ok(capsys, "pool", "export", "--format", "parquet", "--out", file, *arguments, "--home", home)
    ids: list[str] = pq.read_table(file)["id"].to_pylist()
    file.unlink()
    return ids


def test_an_answer_of_query_is_exported_in_its_order(home: Path, tmp_path: Path, capsys: Capture) -> None:
    hand = pick_hand(home)
    question = ("query", "--hand", hand, "-k", "7", "--home", home)
    (answer,) = run_json(capsys, *question)
    (tmp_path / "answer.json").write_text(json.dumps([answer]))
    expected = [neighbor["hand_id"] for neighbor in answer["neighbors"]]
    assert export_ids(capsys, home, tmp_path, "--ids", tmp_path / "answer.json") == expected
    assert export_ids(capsys, home, tmp_path, "--like", hand, "--k", "7") == expected
    assert export_ids(capsys, home, tmp_path, "--ids", ",".join(expected[::-1])) == expected[::-1]
    file = tmp_path / "near.parquet"
    run_ok(capsys, "pool", "export", "--format", "parquet", "--out", file, "--like", hand, "--home", home)
    assert pq.read_table(file)["distance"].to_pylist()[:7] == pytest.approx(
        [neighbor["distance"] for neighbor in answer["neighbors"]]
    )
    assert export_ids(capsys, home, tmp_path, "--ids", file)[:7] == expected


def test_conditions_choose_hands(home: Path, tmp_path: Path, capsys: Capture) -> None:
    pool = Pool.open(home / "pool")
    lefts = [format_hand_id(hand_id) for hand_id in pool.hand_ids[pool.is_left].tolist()]
    assert export_ids(capsys, home, tmp_path, "--side", "left", "--max-score", "1") == lefts
    of_video = export_ids(capsys, home, tmp_path, "--video", str(pool.videos[0]), "--min-score", "0.5")
    assert len(of_video) == 5
    near = export_ids(capsys, home, tmp_path, "--like", lefts[0], "-k", "9", "--side", "left")
    assert len(near) == 9  # the search itself keeps to the conditions
    assert set(near) < set(lefts)


def test_vectors_and_places_come_from_the_index_and_its_map(
    own_home: Path, tmp_path: Path, capsys: Capture
) -> None:
    export = ("pool", "export", "--format", "parquet", "--home", own_home, "--out")
    pool = Pool.open(own_home / "pool")
    text = run_ok(capsys, *export, tmp_path / "index.parquet")
    assert "vector, x and y: index version v0001, two principal components" in text
    with open_catalog(own_home / "index") as catalog, catalog.current() as version:
        info, vectors = version.info, version.vectors(pool.hand_ids)
    table = pq.read_table(tmp_path / "index.parquet")
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), vectors)
    xy = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(xy), np.linalg.norm(np.linalg.svd(centred)[1][:2]), rtol=1e-4)

    ids = np.sort(pool.hand_ids)[:-1]  # one hand is not on the map
    places = np.random.default_rng(0).random((len(ids), 2), dtype=np.float32)
    names = Categorical.of(pool.videos.values(pool.rows(ids)))
    pose_map = PoseMap(info.name, info.checksum, len(pool), ids, places, places[:, 0], names, names, names)
    write_map_file(pose_map, map_file(maps_folder(Home(own_home)), info))
    text = run_ok(capsys, *export, tmp_path / "map.parquet")
    assert "vector, x and y: index version v0001 and its map" in text
    found = {row["id"]: (row["x"], row["y"]) for row in pq.read_table(tmp_path / "map.parquet").to_pylist()}
    expected = {
        format_hand_id(hand_id): tuple(xy) for hand_id, xy in zip(ids.tolist(), places.tolist(), strict=True)
    }
    assert found == {**expected, format_hand_id(int(pool.hand_ids.max())): (None, None)}

    shutil.rmtree(own_home / "index")
    text = run_ok(capsys, *export, tmp_path / "embedding.parquet")
    assert "embedding.json, its first two components" in text
    embedded = pq.read_table(tmp_path / "embedding.parquet")["vector"].to_pylist()
    np.testing.assert_allclose(np.stack(embedded), vectors, atol=1e-5)
    (own_home / "embedding.json").unlink()
    text = run_ok(capsys, *export, tmp_path / "bare.parquet")
    assert "vector, x and y are empty: the home has neither an index nor an embedding of poses" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coco", "--out", "OUT"), "there already; give another place, or remove it"),
        (("coco", "--out", "OUT/no/where"), "is not a directory; make it"),
        (("parquet", "--out", "OUT/x.pq"), "does not end in .parquet, by which other tools know the format"),
        (("coco", "--out", "OUT/x", "--shards", "3"), "--shards goes with --format webdataset; leave it out"),
        (("webdataset", "--out", "OUT/x", "--no-pictures"), "--no-pictures goes with --format parquet"),
        (("webdataset", "--out", "OUT/x", "--shard-hands", "-1"), "--shard-hands is -1; it is at least 1"),
        (("coco", "--out", "OUT/x", "--ids", "00000000000000ab"), "1 of 1 hands are not in"),
        (("coco", "--out", "OUT/x", "--ids", "OUT"), "is neither a file nor hand ids"),
        (("coco", "--out", "OUT/x", "-k", "3"), "-k goes with --like; leave it out"),
        (
            ("coco", "--out", "OUT/x", "--like", "HAND", "--ids", "HAND"),
            "--ids and --like both name the hands",
        ),
        (
            ("coco", "--out", "OUT/x", "--like", "0000000000000001"),
            "no hand 0000000000000001 in index version",
        ),
        (("coco", "--out", "OUT/x", "--label", "none such"), "no label 'none such' in"),
        (("coco", "--out", "OUT/x", "--max-score", "7"), "max_score is 7.0; it lies between 0 and 1"),
    ],
)
def test_bad_exports_are_one_line(
    home: Path, tmp_path: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    hand = pick_hand(home)
    words = [word.replace("OUT", str(tmp_path)).replace("HAND", hand) for word in arguments]
    assert message in run_refused(capsys, "pool", "export", "--format", *words, "--home", home)
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_picture_is_left_out_and_counted(tmp_path: Path, capsys: Capture) -> None:
    from tests.handsim.builders import add_hands

    add_hands(tmp_path / "pool", range(4), crops=False)
    add_hands(tmp_path / "pool", range(4, 7))
    text = run_ok(
        capsys, "pool", "export", "--format", "coco", "--out", tmp_path / "coco", "--home", tmp_path
    )
    assert text.startswith(
        f"3 hands in {tmp_path}/coco (left out: 4 without a picture); in Python:\nimport json"
    )
