import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import webdataset
from PIL import Image

from handsim import Hand, Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id, make_hand_id
from handsim.pool import ItemRecord, Skip, read_items
from handsim.pool.layout import count_hands, published_parts


def make_hand(number: int, **changes: object) -> Hand:
    video = f"v{number // 5}"
    rng = np.random.default_rng(number)
    fields = {
        "hand_id": make_hand_id("test", video, number, 0),
        "source": "test",
        "video": video,
        "frame": number,
        "side": "left" if number % 3 == 0 else "right",
        "score": 0.5,
        "box_px": rng.random(4, dtype=np.float32),
        "keypoints": rng.random((21, 3), dtype=np.float32),
        "label": None if number % 2 else f"shape {number % 4}",
        "file": f"photos/{number}.jpg",
    }
    return Hand(**{**fields, **changes})  # type: ignore[arg-type]  # fields are given by name


def make_jpeg(number: int, size: int = 224) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (number % 256, 90, 10)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    hands = [make_hand(number) for number in range(40)]
    extra = make_hand(99, external_id="h99", external_positives=("a", "b"))
    with PoolWriter(tmp_path / "pool", part_hands=16) as writer:
        for number, hand in enumerate(hands):
            assert writer.add(hand, make_jpeg(number))
        assert writer.add(extra)
    pool = Pool.open(tmp_path / "pool")
    assert len(published_parts(pool.path)) == 3
    assert pool.hand_ids.tolist() == [hand.hand_id for hand in [*hands, extra]]
    assert pool.videos.values() == [hand.video for hand in [*hands, extra]]
    assert pool.labels.values() == [hand.label for hand in [*hands, extra]]
    assert pool.is_left.tolist() == [hand.side == "left" for hand in [*hands, extra]]
    assert pool.frames.tolist() == [hand.frame for hand in [*hands, extra]]
    np.testing.assert_array_equal(pool.keypoints, np.stack([hand.keypoints for hand in [*hands, extra]]))
    for number in (0, 15, 16, 39):
        again = pool.hand(hands[number].hand_id)
        assert (again.file, again.label, again.side) == (
            hands[number].file,
            hands[number].label,
            hands[number].side,
        )
        np.testing.assert_array_equal(again.box_px, hands[number].box_px)
        assert pool.crop_jpeg(hands[number].hand_id) == make_jpeg(number)
        assert abs(int(pool.crop(hands[number].hand_id)[0, 0, 0]) - number) < 4
    assert pool.hand(extra.hand_id).external_positives == ("a", "b")
    assert not pool.has_crop(extra.hand_id)
    with pytest.raises(HandsimError, match="no picture"):
        pool.crop(extra.hand_id)


def test_threads_that_read_first_at_once_open_a_tar_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        writer.add(make_hand(1), make_jpeg(1))
    pool, together = Pool.open(tmp_path / "pool"), Barrier(4)
    open_file = os.open

    def open_together(path: Path, flags: int) -> int:
        together.wait(timeout=60)
        return open_file(path, flags)

    with monkeypatch.context() as meanwhile, ThreadPoolExecutor(4) as threads:
        meanwhile.setattr("handsim.pool.crops.os.open", open_together)
        read = list(threads.map(pool.crop_jpeg, [make_hand(1).hand_id] * 4))
    assert read == [make_jpeg(1)] * 4
    tar = os.path.realpath(published_parts(pool.path)[0] / "crops.tar")
    assert [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()].count(tar) == 1


def test_hands_are_kept_once(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        assert writer.add(make_hand(1))
        assert not writer.add(make_hand(1))
    with PoolWriter(tmp_path / "pool") as writer:
        assert not writer.add(make_hand(1))
        assert writer.add(make_hand(2))
    assert len(Pool.open(tmp_path / "pool")) == 2


def test_the_shards_are_webdatasets(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        for number in range(5):
            writer.add(make_hand(number), make_jpeg(number))
    part = published_parts(tmp_path / "pool")[0]
    samples = list(webdataset.WebDataset(str(part / "crops.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [
        format_hand_id(make_hand(number).hand_id) for number in range(5)
    ]
    assert samples[3]["jpg"] == make_jpeg(3)
    with tarfile.open(part / "crops.tar") as tar:
        assert len(tar.getmembers()) == 5


def test_a_pool_knows_whether_it_is_current(tmp_path: Path) -> None:
    for number in (1, 2):
        with PoolWriter(tmp_path / "pool") as writer:
            writer.add(make_hand(number))
        pool = Pool.open(tmp_path / "pool")
        assert pool.is_current()
        assert int(pool.hand_ids[-1]) in pool
        assert 7 not in pool
    with PoolWriter(tmp_path / "pool") as writer:
        writer.add(make_hand(3))
    assert not pool.is_current()
    shutil.rmtree(tmp_path / "pool")
    assert not pool.is_current()


def test_items_land_with_their_hands(tmp_path: Path) -> None:
    record = ItemRecord(5, pictures=3, hands=2, skipped=(Skip("a.jpg", "no hand", "", 1),))
    with PoolWriter(tmp_path / "pool", part_hands=1) as writer:
        assert writer.add_item(record, [(make_hand(1), None), (make_hand(2), None)]) == 2
        assert len(published_parts(tmp_path / "pool")) == 1  # both hands and the record, in one part
        writer.add_item(ItemRecord(6, 1, 0), [])
    assert next(read_items(tmp_path / "pool")) == record
    with PoolWriter(tmp_path / "pool") as writer:
        assert writer.known_items == {5, 6}


def test_an_empty_pool_opens(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool"):
        pass
    pool = Pool.open(tmp_path / "pool")
    assert len(pool) == 0
    assert pool.keypoints.shape == (0, 21, 3)
    with pytest.raises(HandsimError, match="no hand 0000000000000007"):
        pool.rows([7])


def test_hands_are_counted_without_reading_them(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool", part_hands=3) as writer:
        assert count_hands(tmp_path / "pool") == 0
        for number in range(7):
            writer.add(make_hand(number), None)
    assert count_hands(tmp_path / "pool") == 7 == len(Pool.open(tmp_path / "pool"))
    (published_parts(tmp_path / "pool")[1] / "hands.parquet").write_bytes(b"cut")
    with pytest.raises(HandsimError, match="part 000001 of the pool"):
        count_hands(tmp_path / "pool")
    with pytest.raises(NotThereError, match="there is no pool at"):
        count_hands(tmp_path / "elsewhere")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        PoolWriter(tmp_path / "pool"),
        pytest.raises(HandsimError, match=f"written by process {os.getpid()}"),
    ):
        PoolWriter(tmp_path / "pool")


def test_what_is_no_pool_is_named(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match="there is no pool"):
        Pool.open(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(HandsimError, match="is not a pool"):
        PoolWriter(tmp_path / "other")
    with PoolWriter(tmp_path / "pool"):
        pass
    with pytest.raises(HandsimError, match="224 px crops, not 128"):
        PoolWriter(tmp_path / "pool", crop_size_px=128)
    facts = (tmp_path / "pool" / "pool.json").read_text()
    (tmp_path / "pool" / "pool.json").write_text(facts.replace('"version": 1', '"version": 2'))
    with pytest.raises(HandsimError, match=r"format 2.*upgrade"):
        Pool.open(tmp_path / "pool")


@pytest.mark.parametrize("damage", ["truncate", "garbage", "delete"])
def test_a_damaged_part_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    with PoolWriter(tmp_path / "pool", part_hands=4) as writer:
        for number in range(8):
            writer.add(make_hand(number), make_jpeg(number))
    table = published_parts(tmp_path / "pool")[1] / "hands.parquet"
    if damage == "truncate":
        table.write_bytes(table.read_bytes()[:-100])
    elif damage == "garbage":
        table.write_bytes(b"not parquet at all")
    else:
        table.unlink()
    with pytest.raises(HandsimError, match=r"part 000001 .* is damaged.*ingest again"):
        Pool.open(tmp_path / "pool")


def test_a_tar_that_ends_too_early_is_named(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        writer.add(make_hand(1), make_jpeg(1))
    tar = published_parts(tmp_path / "pool")[0] / "crops.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(HandsimError, match="ends too early"):
        Pool.open(tmp_path / "pool").crop(make_hand(1).hand_id)


WRITE_FOR_EVER = """
import sys
from tests.handsim.pool.test_pool import make_hand, make_jpeg
from handsim.pool import ItemRecord, PoolWriter
with PoolWriter(sys.argv[1], part_hands=7) as writer:
    for number in range(400):
        if number not in writer.known_items:
            writer.add_item(ItemRecord(number, 1, 1), [(make_hand(number), make_jpeg(number))])
            print(number, flush=True)
"""


def test_a_killed_writer_loses_only_its_part_and_the_next_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    for kill_after in (1, 12, 40, 133):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(kill_after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        pool = Pool.open(path)  # readers are never disturbed
        for hand_id in pool.hand_ids.tolist():
            pool.crop_jpeg(hand_id)
    subprocess.run([sys.executable, "-c", WRITE_FOR_EVER, str(path)], check=True, stdout=subprocess.DEVNULL)
    pool = Pool.open(path)
    assert sorted(pool.hand_ids.tolist()) == sorted(make_hand(number).hand_id for number in range(400))
    assert not list((path / "parts").glob(".*"))
    for number in (0, 123, 399):
        assert pool.crop_jpeg(make_hand(number).hand_id) == make_jpeg(number)
