"""Batches of pairs, and their crops read and decoded, by threads and by processes."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from handsim import Hand, HandsimError, Pool, PoolWriter
from handsim.embedding import upright_turns_deg
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from handsim.images import encode_jpeg
from handsim.pool import CropFiles
from handsim.synthetic import SyntheticConfig, synthesise_pool
from index import Catalog
from tests.training.pairs.builders import colour_of, write_pool
from training.pairs import PairDraw, SelfPairs
from training.pairs.decoding import PairBatch, ProcessDecoder, ThreadDecoder, decode_into


def test_a_batch_holds_each_hand_once_however_often_it_is_drawn(pool: Pool) -> None:
    ids = pool.hand_ids
    draw = PairDraw(
        anchors=ids[[9, 3, 40, 7]],
        positives=ids[[3, 60, 40, 60]],  # one is an anchor too, one its own, one is met twice
        distances=np.array([1, 2, np.nan, 3], dtype=np.float32),
        negatives=ids[[[100, 5], [6, 2], [119, 0], [1, 50]]],
        version="v0003",
        without_positive=1,
        not_in_index=1,
        random_negatives=2,
    )
    batch = PairBatch.from_draw(draw, pool, epoch=4, number=7)
    assert batch.hand_ids.dtype == np.uint64
    assert batch.hand_ids.tolist() == ids[[0, 1, 2, 3, 5, 6, 7, 9, 40, 50, 60, 100, 119]].tolist()
    for rows, expected in (
        (batch.anchors, draw.anchors),
        (batch.positives, draw.positives),
        (batch.negatives, draw.negatives.ravel()),
    ):
        assert rows.dtype == torch.int64
        np.testing.assert_array_equal(batch.hand_ids[rows.numpy()], expected)
    np.testing.assert_array_equal(batch.keypoints, pool.keypoints[pool.rows(batch.hand_ids)][:, :, :2])
    assert batch.keypoints.dtype == batch.distances.dtype == torch.float32
    np.testing.assert_array_equal(batch.distances, draw.distances)
    np.testing.assert_array_equal(batch.videos, pool.videos.codes[pool.rows(batch.hand_ids)])
    assert batch.vectors.shape == (13, 0)
    assert batch.crops.shape == (0, 32, 32, 3)
    assert (len(batch), batch.version, batch.epoch, batch.number) == (4, "v0003", 4, 7)
    assert (batch.without_positive, batch.not_in_index, batch.random_negatives) == (1, 1, 2)
    assert batch.turns_deg is None
    turned = PairBatch.from_draw(replace(draw, up_to_turn=True), pool, epoch=4, number=7).turns_deg
    assert turned is not None
    np.testing.assert_allclose(
        turned, upright_turns_deg(pool.keypoints[pool.rows(batch.hand_ids)]), rtol=1e-6
    )
    # The pool's own keypoints cannot be changed through a batch.
    batch.keypoints[0] = 7.0
    assert pool.keypoints.max() < 7.0


def test_a_batch_has_the_vectors_of_its_hands_where_they_were_drawn(pool: Pool) -> None:
    ids = pool.hand_ids
    hands = ids[[9, 3, 3, 40, 100, 5]]
    draw = PairDraw(hands[:2], hands[2:4], np.ones(2, dtype=np.float32), hands[4:].reshape(2, 1))
    # The vector of each is its row.
    rows = pool.rows(hands)
    vectors = np.stack([rows, -rows], axis=1).astype(np.float32)
    batch = PairBatch.from_draw(replace(draw, vectors=vectors), pool, 0, 0)
    there = pool.rows(batch.hand_ids)
    np.testing.assert_array_equal(batch.vectors, np.stack([there, -there], axis=1))


def test_to_moves_every_tensor(pool: Pool) -> None:
    none = np.empty((2, 0), dtype=np.uint64)
    draw = PairDraw(pool.hand_ids[:2], pool.hand_ids[2:4], np.ones(2, dtype=np.float32), none)
    there = PairBatch.from_draw(draw, pool, 0, 0).to("meta", non_blocking=True)
    tensors = [value for value in vars(there).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 8
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert there.hand_ids.tolist() == pool.hand_ids[:4].tolist()


def batches_of(pool: Pool, *parts: NDArray[np.uint64]) -> Iterator[PairBatch]:
    for number, part in enumerate(parts):
        yield PairBatch.from_draw(SelfPairs().draw(part, np.random.default_rng(0)), pool, 0, number)


def check_crops(batch: PairBatch) -> None:
    """Every crop has the colour of its hand."""
    assert batch.crops.dtype == torch.uint8
    assert batch.crops.shape == (len(batch.hand_ids), 32, 32, 3)
    expected = np.array([colour_of(hand_id) for hand_id in batch.hand_ids.tolist()])
    assert np.abs(batch.crops.numpy().astype(int) - expected[:, None, None]).max() <= 4


def damage(pool: Pool, row: int) -> None:
    """Overwrite the end of a hand's picture."""
    jpeg = pool.crop_jpeg(int(pool.hand_ids[row]))
    (tar,) = pool.path.glob("parts/*/crops.tar")
    content = bytearray(tar.read_bytes())
    place = content.index(jpeg)
    content[place + len(jpeg) // 2 : place + len(jpeg)] = bytes(len(jpeg) - len(jpeg) // 2)
    tar.write_bytes(content)


def test_threads_decode_batch_after_batch_and_raise_what_one_of_them_does(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    with closing(ThreadDecoder(pool.path, pin=False)) as decoder:
        decoded = list(
            decoder.decode(batches_of(pool, pool.hand_ids, pool.hand_ids[5:7], pool.hand_ids[:100]))
        )
        damage(pool, 6)
        with pytest.raises(HandsimError, match="is damaged: it cannot be decoded"):
            list(decoder.decode(batches_of(pool, pool.hand_ids)))
    assert [len(batch) for batch in decoded] == [120, 2, 100]
    for batch in decoded:
        check_crops(batch)


@pytest.mark.slow
def test_processes_decode_and_can_be_used_again_after_an_interruption(tmp_path: Path) -> None:
    """One test for all promises of processes: they take seconds to start."""
    pool = write_pool(tmp_path / "pool")
    with closing(ProcessDecoder(pool.path, 2, pin=False)) as decoder:
        random_state = torch.get_rng_state()
        decoded = decoder.decode(batches_of(pool, *[pool.hand_ids[start::2] for start in range(2)] * 10))
        first = next(decoded)
        check_crops(first)
        workers = {process.pid for process in multiprocessing.active_children()}
        assert len(workers) == 2
        decoded.close()  # in the middle
        parts = [pool.hand_ids, pool.hand_ids[5:7], pool.hand_ids[:100]]
        again = list(decoder.decode(batches_of(pool, *parts)))
        assert [len(batch) for batch in again] == [120, 2, 100]
        for batch in again:
            check_crops(batch)
        assert {process.pid for process in multiprocessing.active_children()} == workers
        assert torch.equal(torch.get_rng_state(), random_state), "the trainer's random numbers are not used"

        def batches_and_an_error() -> Iterator[PairBatch]:
            yield from batches_of(pool, *parts)
            raise KeyError("index")

        decoded = decoder.decode(batches_and_an_error())
        assert [len(next(decoded)) for _ in range(3)] == [120, 2, 100], "all batches before the error"
        with pytest.raises(KeyError, match="index"):
            next(decoded)
        damage(pool, 6)
        check_crops(next(decoder.decode(batches_of(pool, pool.hand_ids[:6]))))
        name = format_hand_id(int(pool.hand_ids[6]))
        with pytest.raises(HandsimError, match=f"^the crop of hand {name} in .* is damaged: it cannot be"):
            list(decoder.decode(batches_of(pool, pool.hand_ids)))
    del decoded
    assert not multiprocessing.active_children()


def decode(files: CropFiles, hand_ids: np.ndarray) -> np.ndarray:
    crops = np.empty((len(hand_ids), files.size_px, files.size_px, 3), dtype=np.uint8)
    decode_into(files, crops, hand_ids)
    return crops


def test_threads_read_the_stored_files_of_all_parts(tmp_path: Path) -> None:
    for part in range(3):
        write_pool(tmp_path / "pool", videos=2, first_video=2 * part)
    pool = Pool.open(tmp_path / "pool")
    files = CropFiles(pool.path)
    assert files.size_px == pool.crop_size_px
    hand_ids = np.random.default_rng(0).permutation(pool.hand_ids)
    expected = [pool.crop_jpeg(hand_id) for hand_id in hand_ids.tolist()]
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(files.jpegs, np.split(hand_ids, 12)))
    assert [jpeg for part in parts for jpeg in part] == expected
    files.close()


def test_decoded_pixels_are_those_of_the_pool(tmp_path: Path) -> None:
    synthesise_pool(tmp_path / "pool", SyntheticConfig(videos=1, hands_per_video=4, size_px=64))
    pool = Pool.open(tmp_path / "pool")
    with closing(CropFiles(pool.path)) as files:
        crops = decode(files, pool.hand_ids)
    expected = np.stack([pool.crop(hand_id) for hand_id in pool.hand_ids.tolist()])
    assert np.abs(crops.astype(int) - expected).mean() < 1, "decoders round in their own ways"
    assert len(np.unique(expected)) > 50


@pytest.fixture
def written(tmp_path: Path, pool: Pool) -> Callable[[bytes | None], CropFiles]:
    """A pool of one hand, the first of ``pool``, with that JPEG."""

    def write(jpeg: bytes | None) -> CropFiles:
        hand: Hand = pool.hand(int(pool.hand_ids[0]))
        with PoolWriter(tmp_path / "odd", crop_size_px=32) as writer:
            writer.add(hand, jpeg)
        return CropFiles(tmp_path / "odd")

    return write


@pytest.mark.parametrize(
    ("jpeg", "message"),
    [
        (b"", "it cannot be decoded"),
        (b"\xff\xd8\xff\xe0 no picture", "it cannot be decoded"),
        (encode_jpeg(np.zeros((16, 24, 3), dtype=np.uint8)), "it has 24 x 16 px, the pool 32"),
        (encode_jpeg(np.zeros((32, 32, 3), dtype=np.uint8))[:-80], "it cannot be decoded"),
    ],
)
def test_a_damaged_crop_is_named_with_the_reason(
    written: Callable[[bytes], CropFiles], pool: Pool, jpeg: bytes, message: str
) -> None:
    with pytest.raises(HandsimError) as raised:
        decode(written(jpeg), pool.hand_ids[:1])
    name = format_hand_id(int(pool.hand_ids[0]))
    assert str(raised.value).startswith(f"the crop of hand {name} in ")
    assert f" is damaged: {message}; " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_hands_without_a_crop_are_named(written: Callable[[bytes | None], CropFiles], pool: Pool) -> None:
    files = written(None)
    for hand_id in pool.hand_ids[:2]:  # the first has keypoints alone, the second is not there at all
        with pytest.raises(NotThereError, match=f"no picture of hand {format_hand_id(int(hand_id))}"):
            files.jpegs(np.array([hand_id]))


def test_crops_files_that_are_cut_or_missing_are_named(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    (tar,) = pool.path.glob("parts/*/crops.tar")
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(HandsimError, match=r"part 000000 of .* is damaged \(crops.tar ends too early"):
        CropFiles(pool.path).jpegs(pool.hand_ids)
    tar.unlink()
    with pytest.raises(HandsimError, match=r"is damaged \(crops.tar is missing\)"):
        CropFiles(pool.path).jpegs(pool.hand_ids)


def test_a_grey_jpeg_is_decoded_to_three_colours(
    written: Callable[[bytes], CropFiles], pool: Pool, tmp_path: Path
) -> None:
    Image.new("L", (32, 32), 80).save(tmp_path / "grey.jpg")
    crops = decode(written((tmp_path / "grey.jpg").read_bytes()), pool.hand_ids[:1])
    assert (np.abs(crops.astype(int) - 80) <= 1).all()


_TRAINER = """
import sys
from multiprocessing import active_children
from pathlib import Path
from handsim import Pool
from training.pairs import PairSettings
from training.pairs.open_pairs import open_pairs
from index import open_catalog

loader = open_pairs(
    PairSettings(), Pool.open(sys.argv[1]), open_catalog(sys.argv[2]), batch_size=8, seed=1, workers=1
)
next(loader.epoch(0))
print(*(process.pid for process in active_children()), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_no_process_outlives_a_killed_trainer(pool: Pool, built: Catalog) -> None:
    command = [sys.executable, "-c", _TRAINER, str(pool.path), built.address]
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as trainer:
        assert trainer.stdout is not None
        helpers = [psutil.Process(int(pid)) for pid in trainer.stdout.readline().split()]
        assert len(helpers) == 2, "one decodes, one queries the index"
        trainer.kill()
    assert psutil.wait_procs(helpers, timeout=60)[1] == []
