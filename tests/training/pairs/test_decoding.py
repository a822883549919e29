"""Crops read and decoded, by threads and by processes."""

import multiprocessing
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from handsim import HandsimError, Pool, PoolWriter
from handsim.hand import format_hand_id
from handsim.media.images import encode_jpeg
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.training.pairs.conftest import colour_of, write_pool
from training.pairs import OwnViews, PairBatch
from training.pairs.crops import decode_into, read_jpegs
from training.pairs.decoding import Decoder, ProcessDecoder, ThreadDecoder


def batches_of(pool: Pool, *parts: NDArray[np.uint64]) -> Iterator[PairBatch]:
    for number, part in enumerate(parts):
        yield PairBatch.lay_out(OwnViews().draw(part, np.random.default_rng(0)), pool, 0, number)


def check(batch: PairBatch) -> None:
    """Every hand has its own colour in its own place."""
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


def test_the_pixels_are_those_of_the_pool(tmp_path: Path) -> None:
    synthesise_pool(tmp_path / "pool", SyntheticConfig(videos=1, hands_per_video=4, size_px=64))
    with closing(Pool.open(tmp_path / "pool")) as pool:
        crops = np.empty((4, 64, 64, 3), dtype=np.uint8)
        decode_into(crops, pool.hand_ids, read_jpegs(pool, pool.hand_ids), pool)
        expected = np.stack([pool.crop(hand_id) for hand_id in pool.hand_ids.tolist()])
    assert np.abs(crops.astype(int) - expected).mean() < 1, "decoders round in their own ways"
    assert len(np.unique(expected)) > 50


def test_threads_decode_batch_after_batch(pool: Pool) -> None:
    with closing(ThreadDecoder(pool, pin=False)) as decoder:
        decoded = list(
            decoder.decode(batches_of(pool, pool.hand_ids, pool.hand_ids[5:7], pool.hand_ids[:100]))
        )
    assert [len(batch) for batch in decoded] == [120, 2, 100]
    for batch in decoded:
        check(batch)


def test_processes_do_too_and_can_be_used_again(pool: Pool, tmp_path: Path) -> None:
    """One test for all that needs processes: they take seconds to start."""
    with closing(ProcessDecoder(pool, 2, pin=False)) as decoder:
        random_state = torch.get_rng_state()
        decoded = decoder.decode(batches_of(pool, *[pool.hand_ids[start::2] for start in range(2)] * 10))
        first = next(decoded)
        check(first)
        workers = {process.pid for process in multiprocessing.active_children()}
        assert len(workers) == 2
        decoded.close()  # in the middle of it
        parts = [pool.hand_ids, pool.hand_ids[5:7], pool.hand_ids[:100]]
        again = list(decoder.decode(batches_of(pool, *parts)))
        assert [len(batch) for batch in again] == [120, 2, 100]
        for batch in again:
            check(batch)
        assert {process.pid for process in multiprocessing.active_children()} == workers
        assert torch.equal(torch.get_rng_state(), random_state), "the trainer's random numbers are its own"

        def and_then_an_error() -> Iterator[PairBatch]:
            yield from batches_of(pool, *parts)
            raise KeyError("index")

        decoded = decoder.decode(and_then_an_error())
        assert [len(next(decoded)) for _ in range(3)] == [120, 2, 100], "all before it come through"
        with pytest.raises(KeyError, match="index"):
            next(decoded)
    del decoded
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_damaged_crop_is_named(kind: str, tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    damage(pool, 6)
    decoder: Decoder = (
        ThreadDecoder(pool, pin=False) if kind == "threads" else ProcessDecoder(pool, 1, pin=False)
    )
    name = format_hand_id(int(pool.hand_ids[6]))
    with closing(decoder):
        check(next(decoder.decode(batches_of(pool, pool.hand_ids[:6]))))
        with pytest.raises(HandsimError) as told:
            list(decoder.decode(batches_of(pool, pool.hand_ids)))
    assert str(told.value).startswith(
        f"the crop of hand {name} in {pool.path} is damaged: it cannot be decoded"
    )
    assert "\n" not in str(told.value)


def test_a_crop_of_another_size_is_named(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    hand = pool.hand(int(pool.hand_ids[0]))
    with PoolWriter(tmp_path / "odd", crop_size_px=32) as writer:
        writer.add(hand, encode_jpeg(np.zeros((16, 24, 3), dtype=np.uint8)))
    odd = Pool.open(tmp_path / "odd")
    with (
        closing(ThreadDecoder(odd, pin=False)) as decoder,
        pytest.raises(HandsimError, match="it is 24 x 16 px"),
    ):
        next(decoder.decode(batches_of(odd, odd.hand_ids)))


def test_a_grey_picture_has_three_colours_too(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    Image.new("L", (32, 32), 80).save(tmp_path / "grey.jpg")
    crops = np.empty((1, 32, 32, 3), dtype=np.uint8)
    decode_into(crops, pool.hand_ids[:1], [(tmp_path / "grey.jpg").read_bytes()], pool)
    assert (np.abs(crops.astype(int) - 80) <= 1).all()
    with pytest.raises(HandsimError, match="cannot be decoded"):
        decode_into(crops, pool.hand_ids[:1], [b""], pool)
