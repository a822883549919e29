"""Work done beside the training comes in order, and its mistakes in one line."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from handsim.errors import HandsimError
from handsim.processes import available_cores
from training.runs.workers import WorkerThreads, check_workers


def _half(number: int) -> float:
    if number == 13:
        raise HandsimError("13 cannot be halved")
    return number / 2


def test_threads_keep_the_order_and_do_not_run_away() -> None:
    asked: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(14, 1000):
            asked.append(number)
            yield number

    with closing(WorkerThreads(_half, "handsim-test")) as workers:
        halves = workers.map(numbers())
        assert [next(halves) for _ in range(40)] == [number / 2 for number in range(14, 54)]
        assert len(asked) <= 40 + 2 * available_cores()
        halves.close()
        assert list(workers.map(iter([2, 4]))) == [1.0, 2.0]
        assert list(workers.map(iter([]))) == []


def test_threads_tell_mistakes_after_what_was_done_before() -> None:
    def and_then_an_error() -> Iterator[int]:
        yield from (1, 2)
        raise KeyError("jobs")

    with closing(WorkerThreads(_half, "handsim-test")) as workers:
        done = workers.map(and_then_an_error())
        assert [next(done), next(done)] == [0.5, 1.0]
        with pytest.raises(KeyError, match="jobs"):
            next(done)
        done = workers.map(iter([12, 13, 14]))
        assert next(done) == 6.0
        with pytest.raises(HandsimError, match="13 cannot be halved"):
            next(done)


def test_a_worker_that_died_is_told_in_one_line() -> None:
    def chunks(message: str) -> Iterator[torch.Tensor]:
        yield torch.zeros(1)
        raise RuntimeError(message)

    guarded = check_workers(chunks("DataLoader worker (pid(s) 7) exited unexpectedly"))
    next(guarded)
    with pytest.raises(
        HandsimError, match=r"^a process that decodes crops died \(DataLoader worker.*take fewer"
    ):
        next(guarded)
    with pytest.raises(RuntimeError, match="another mistake"):
        list(check_workers(chunks("another mistake")))
