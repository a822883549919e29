"""``handsim mine`` and ``handsim pool duplicates``: what is left out, and what is said of it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from apps.cli import main
from handsim import Pool, PoolWriter
from handsim.embedding import load_embedding
from handsim.hand import format_hand_id, make_hand_id
from handsim.pool.duplicates import DUPLICATES_FILE
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused
from tests.handsim.builders import write_picture_pool
from training.pairs.sources import HandSet, MinedTable


def write_home(path: Path, numbers: range, copied: range = range(0)) -> Path:
    """A home with hands in videos of five, and some of them again in a video ``copy``."""
    pool = write_picture_pool(path / "pool", numbers)
    with PoolWriter(path / "pool", crop_size_px=pool.crop_size_px) as writer:
        for number in copied:
            hand_id = int(pool.hand_ids[number])
            again = make_hand_id("test", "copy", number, 0)
            writer.add(replace(pool.hand(hand_id), hand_id=again, video="copy"), pool.crop_jpeg(hand_id))
    return path


def mine(home: Path, *words: str | Path) -> tuple[str | Path, ...]:
    return ("mine", "--workers", "1", "--home", home, *words)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 hands in 5 videos, and the first five again."""
    home = write_home(tmp_path_factory.mktemp("copied"), range(25), range(5))
    assert main(["index", "build", "--home", str(home)]) == 0
    return home


def test_hands_of_one_video_are_not_mined_but_explained(tmp_path: Path, capsys: Capture) -> None:
    home = write_home(tmp_path / "home", range(20, 25))
    pool = Pool.open(home / "pool")
    with PoolWriter(tmp_path / "one" / "pool", crop_size_px=pool.crop_size_px) as writer:
        for hand_id in pool.hand_ids.tolist():
            for copy in range(4):
                again = make_hand_id("test", "rgb", hand_id, copy)
                writer.add(replace(pool.hand(hand_id), hand_id=again, video="rgb"))
    one = tmp_path / "one"
    run_ok(capsys, "index", "build", "--home", one)
    for words in (("p.parquet",), ("p.json", "--format", "hand100m")):
        refused = run_refused(capsys, *mine(one, "--out", tmp_path / words[0], *words[1:]))
        assert "0 of 20 hands have a match: all are of one video (`rgb`)" in refused
        assert "`handsim ingest --video-from`" in refused
        assert "--same-video" in refused
        assert not (tmp_path / words[0]).exists()
    run_ok(capsys, *mine(one, "--out", tmp_path / "p.parquet", "--same-video"))


def test_a_pool_where_few_hands_have_a_positive_is_mined_with_a_loud_line(
    copied: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "pairs.parquet"
    assert main([*map(str, mine(copied, "--out", out, "--min-distance", "0", "--max-distance", "0"))]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"10 pairs of 30 hands in {out}\n"
    assert captured.err == (
        "only 10 of 30 hands have a match: the others have none within max_distance 0; take a larger one\n"
    )


def test_copies_are_left_out_as_positives_and_counted(copied: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "pairs.parquet"
    assert "left out as matches: 10 nearer than 0.001\n" in run_ok(capsys, *mine(copied, "--out", out))
    run_ok(capsys, "pool", "duplicates", "--home", copied)
    printed = run_ok(capsys, *mine(copied, "--out", out, "--min-distance", "0"))
    assert printed.endswith("left out as matches: 10 duplicates of their query hands\n")
    assert min(pq.read_table(out)["distance"].to_pylist()) > 0.001
    every = mine(copied, "--out", out, "--min-distance", "0", "--keep-duplicates")
    assert "left out" not in run_ok(capsys, *every)
    verified = run_json(capsys, "index", "verify", "--home", copied)
    assert (verified["positives_at_zero"], verified["positives_too_near"]) == (10, 10)
    assert "`handsim pool duplicates` finds" in run_ok(capsys, "index", "verify", "--home", copied)


def test_a_home_without_an_index_is_mined_in_bulk_and_gives_the_same_pairs(
    tmp_path: Path, capsys: Capture
) -> None:
    home = write_home(tmp_path / "home", range(25))
    words = ("--top-k", "3", "--one-per-video", "--max-distance", "5")
    printed = run_ok(capsys, *mine(home, "--out", tmp_path / "bulk.parquet", *words))
    assert printed.startswith(f"fitted the embedding {home / 'embedding.json'} on 25 hands")
    run_ok(capsys, "index", "build", "--home", home)
    served = run_ok(capsys, *mine(home, "--out", tmp_path / "served.parquet", *words))
    again = run_ok(capsys, *mine(home, "--bulk", "--out", tmp_path / "again.parquet", *words))
    assert again == served.replace("served", "again")
    assert printed.endswith(served.replace("served", "bulk"))
    bulk, from_index = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("bulk", "served"))
    assert bulk.drop_columns("distance").equals(from_index.drop_columns("distance"))
    np.testing.assert_allclose(bulk["distance"], from_index["distance"], rtol=1e-6)
    metadata = pq.read_metadata(tmp_path / "again.parquet").metadata
    assert metadata[b"mined"] == b"in bulk"
    assert metadata[b"embedding_fingerprint"].decode() == load_embedding(home / "embedding.json").fingerprint
    assert b"index_version" not in metadata
    pool = Pool.open(home / "pool")
    pairs = MinedTable(tmp_path / "again.parquet", HandSet(pool.hand_ids))
    draw = pairs.draw(bulk["hand_id"].to_numpy(), np.random.default_rng(0))
    assert np.isin(draw.positives, bulk["positive_id"]).all()


def test_options_that_do_not_go_with_a_search_in_memory_are_refused(
    copied: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = ("--out", tmp_path / "pairs.parquet")
    for words, message in (
        (("--bulk", "--ray", "auto"), "leave out --ray, or --bulk"),
        (("--bulk", "--index", "elsewhere"), "leave out --index, or --bulk"),
        (("--device", "cuda"), "leave out --device cuda, or add --bulk"),
        (("--index", tmp_path / "none"), "there is no index at"),
        (("--bulk", "--top-k", "31"), "k is 31; these 30 hands answer 1 to 30"),
    ):
        assert message in run_refused(capsys, *mine(copied, *out, *words)), words


def test_hands_without_a_picture_are_left_out_beside_crops(tmp_path: Path, capsys: Capture) -> None:
    home = write_home(tmp_path, range(10))
    write_picture_pool(home / "pool", range(10, 16), with_crops=False)
    run_ok(capsys, "index", "build", "--home", home)
    written, crops = tmp_path / "hands.json", tmp_path / "crops"
    words = ("--top-k", "5", "--format", "hand100m", "--crops", crops)
    printed = run_ok(capsys, *mine(home, "--out", written, *words))
    assert printed.startswith("10 annotations of 16 hands")
    assert printed.endswith("left out: 6 hands without a picture\n")
    content = json.loads(written.read_text())
    names = {image["file_name"] for image in content["images"]}
    assert names == {crop.name for crop in crops.iterdir()}
    for annotation in content["annotations"]:
        for hand in (annotation["hand_id"], *annotation["positive_sample"]):
            assert f"{format_hand_id(int(hand))}.jpg" in names


def test_pairs_are_written_in_the_format_that_the_name_says(
    copied: Path, tmp_path: Path, capsys: Capture
) -> None:
    for name in ("pairs", "pairs.parquet", "pairs.csv", "pairs.json"):
        run_ok(capsys, *mine(copied, "--out", tmp_path / name))
    pairs = pq.read_table(tmp_path / "pairs.parquet")
    assert pq.read_table(tmp_path / "pairs").equals(pairs)
    assert len(json.loads((tmp_path / "pairs.json").read_text())["annotations"]) == 30
    header, *rows = csv.reader((tmp_path / "pairs.csv").read_text().splitlines())
    assert header == pairs.column_names
    ids = [[format_hand_id(number) for number in pairs[name].to_pylist()] for name in header[:2]]
    assert [row[:2] for row in rows] == [list(pair) for pair in zip(*ids, strict=True)]
    assert [float(row[3]) for row in rows] == pytest.approx(pairs["distance"].to_pylist(), abs=1e-6)
    for name, words, message in (
        ("pairs.txt", (), "pairs.txt ends in .txt; name it .parquet, .csv or .json"),
        ("pairs.csv", ("--format", "parquet"), "--format is parquet and"),
        ("pairs.csv", ("--crops", tmp_path), "--crops goes with --format hand100m"),
    ):
        assert message in run_refused(capsys, *mine(copied, "--out", tmp_path / name, *words))


def test_an_index_that_is_older_than_a_removal_is_not_mined(tmp_path: Path, capsys: Capture) -> None:
    home = write_home(tmp_path, range(20))
    run_ok(capsys, "index", "build", "--home", home)
    run_ok(capsys, "pool", "remove", "--ids", pick_hand(home), "--home", home)
    for words in (("p.parquet",), ("p.json", "--format", "hand100m")):
        refused = run_refused(capsys, *mine(home, "--out", tmp_path / words[0], *words[1:]))
        assert "1 of the 20 hands of index version v0001 is not in the pool" in refused
        assert "`handsim index add`" in refused
    run_ok(capsys, "index", "add", "--home", home)
    run_ok(capsys, *mine(home, "--out", tmp_path / "p.parquet"))


def test_duplicates_are_told_in_a_table_and_as_json(tmp_path: Path, capsys: Capture) -> None:
    home = write_home(tmp_path / "home", range(20), range(5))
    printed = run_ok(capsys, "pool", "duplicates", "--home", home).splitlines()
    assert printed[1].split() == ["the", "same", "crop", "5", "10"]
    assert "v0 and copy: 100% of 5 hands alike" in printed
    assert (home / "pool" / DUPLICATES_FILE).exists()
    report = run_json(capsys, "pool", "duplicates", "--home", home)
    assert (report["hands"], report["exact_copies"], len(report["members"])) == (25, 5, 5)
    other = write_home(tmp_path / "other", range(3, 40))
    shared = run_json(capsys, "pool", "duplicates", "--home", home, "--against", other)
    assert (shared["exact"], shared["near"]) == (17 + 2, 0)
    assert {"here": "copy", "there": "v0", "hands": 2, "of": 5} in shared["videos"]
    assert "of 25 hands, 19 in" in run_ok(
        capsys, "pool", "duplicates", "--home", home, "--against", other / "pool"
    )
    copies = ("pool", "duplicates", "--home", home, "--remove-copies")
    assert (
        "5 copies removed; `handsim pool compact` gives the space back; next: handsim index add --home"
        in run_ok(capsys, *copies)
    )
    assert set(Pool.open(home / "pool").videos.values()) == {"v0", "v1", "v2", "v3"}
    assert "17 copies removed" in run_ok(capsys, *copies, "--against", other)
    assert len(Pool.open(home / "pool")) == 3
    nothing = run_refused(capsys, "pool", "duplicates", "--home", home, "--against", tmp_path)
    assert "is no home with a pool and none of freihand" in nothing
