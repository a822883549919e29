"""Crops read and decoded, by threads and by processes."""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from handsim import HandsimError, Pool
from handsim.hand import format_hand_id
from index import Catalog
from tests.training.pairs.conftest import colour_of, write_pool
from training.pairs import SelfPairs
from training.pairs.decoding import Decoder, PairBatch, ProcessDecoder, ThreadDecoder


def batches_of(pool: Pool, *parts: NDArray[np.uint64]) -> Iterator[PairBatch]:
    for number, part in enumerate(parts):
        yield PairBatch.from_draw(SelfPairs().draw(part, np.random.default_rng(0)), pool, 0, number)


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


def test_threads_decode_batch_after_batch(pool: Pool) -> None:
    with closing(ThreadDecoder(pool.path, pin=False)) as decoder:
        decoded = list(
            decoder.decode(batches_of(pool, pool.hand_ids, pool.hand_ids[5:7], pool.hand_ids[:100]))
        )
    assert [len(batch) for batch in decoded] == [120, 2, 100]
    for batch in decoded:
        check(batch)


def test_processes_do_too_and_can_be_used_again(pool: Pool, tmp_path: Path) -> None:
    """One test for all that needs processes: they take seconds to start."""
    with closing(ProcessDecoder(pool.path, 2, pin=False)) as decoder:
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
        ThreadDecoder(pool.path, pin=False) if kind == "threads" else ProcessDecoder(pool.path, 1, pin=False)
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


def test_no_process_outlives_a_killed_trainer(pool: Pool, built: Catalog) -> None:
    command = [sys.executable, "-c", _TRAINER, str(pool.path), built.address]
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as trainer:
        assert trainer.stdout is not None
        helpers = [psutil.Process(int(pid)) for pid in trainer.stdout.readline().split()]
        assert len(helpers) == 2, "one decodes, one asks the index"
        trainer.kill()
    assert psutil.wait_procs(helpers, timeout=20)[1] == []
