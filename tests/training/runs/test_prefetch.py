"""Work beside the training comes in order, with its errors. No test sleeps: each side waits for the other."""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from threading import Event, Semaphore
from typing import Any

import pytest
import torch

from handsim.errors import HandsimError
from handsim.processes import available_cores
from training.runs.prefetch import Prefetcher
from training.runs.workers import WorkerThreads, check_workers

TIMEOUT_S = 60.0


def live_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "test-prefetch"]


def prefetch(items: Generator[int, None, None], depth: int = 2, **options: Any) -> Prefetcher[int]:
    stream = Prefetcher(items, depth, "test-prefetch", **options)
    stream.start()
    return stream


def test_all_items_come_in_their_order_and_then_the_end() -> None:
    stream = prefetch((number for number in range(50)), depth=3)
    assert list(stream) == list(range(50))
    assert next(stream, "none") == "none"
    assert stream.close()
    assert live_threads() == []


def test_it_works_ahead_but_not_further_than_its_depth() -> None:
    begun, made = [], Semaphore(0)

    def items() -> Generator[int, None, None]:
        for number in range(100):
            begun.append(number)
            yield number
            made.release()  # the next item is being made

    stream = prefetch(items(), depth=4)
    for _ in range(3):
        assert made.acquire(timeout=TIMEOUT_S)
    assert begun in ([0, 1, 2], [0, 1, 2, 3]), "no item was taken yet"
    for number in range(5):
        assert next(stream) == number
        assert made.acquire(timeout=TIMEOUT_S)
        assert max(begun) <= number + 4
    stream.close()


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise KeyError("three")

    stream = prefetch(items())
    assert [next(stream), next(stream)] == [1, 2]
    for _ in range(2):
        with pytest.raises(KeyError, match="three"):
            next(stream)
    assert stream.close()


def test_closing_ends_the_generator_on_its_thread() -> None:
    cleaned = []

    def items() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            cleaned.append(threading.current_thread().name)

    stream = prefetch(items())
    assert next(stream) == 1
    assert stream.close()
    assert cleaned == ["test-prefetch"]
    assert list(stream) == []
    assert live_threads() == []


def stuck(release: Event) -> Generator[int, None, None]:
    release.wait(TIMEOUT_S)
    yield 1


def test_closing_waits_only_so_long_for_a_generator_that_is_stuck() -> None:
    release = Event()
    stream = prefetch(stuck(release))
    assert not stream.close(timeout_s=0.0)
    assert next(stream, None) is None, "a closed one has no items"
    release.set()
    assert stream.close(TIMEOUT_S)
    assert list(stream) == []


def test_closing_ends_a_wait_on_another_thread() -> None:
    release, answers, clock_read = Event(), [], Event()

    def clock() -> float:
        clock_read.set()
        return 0.0

    stream = prefetch(stuck(release), 1, clock=clock)
    waiting = threading.Thread(target=lambda: answers.append(list(stream)))
    waiting.start()
    assert clock_read.wait(TIMEOUT_S)
    stream.end()
    waiting.join(TIMEOUT_S)
    assert answers == [[]]
    release.set()
    assert stream.close(TIMEOUT_S)


def test_waiting_time_is_counted_also_during_a_wait() -> None:
    clock_read, now = Event(), [0.0]

    def clock() -> float:
        clock_read.set()
        return now[0]

    def items() -> Generator[int, None, None]:
        for number in range(3):
            assert clock_read.wait(TIMEOUT_S)  # the main thread waits
            now[0] += 7.0
            waits.append(stream.waited_s)
            clock_read.clear()
            yield number

    waits: list[float] = []
    stream = prefetch(items(), 1, clock=clock)
    for number in range(3):
        assert next(stream) == number
    assert stream.waited_s == 21.0
    assert waits == [7.0, 14.0, 21.0], "also during the wait"
    stream.close()


def test_a_prefetcher_that_was_never_started_can_be_closed() -> None:
    stream = Prefetcher((number for number in range(3)), 1, "test-prefetch")
    assert stream.close()
    assert list(stream) == []


def _half(number: int) -> float:
    if number == 13:
        raise HandsimError("13 cannot be halved")
    return number / 2


def test_threads_keep_the_order_and_take_only_a_few_jobs_ahead() -> None:
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


def test_threads_raise_errors_after_the_results_before_them() -> None:
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


def test_a_worker_that_died_is_an_error_in_one_line() -> None:
    def chunks(message: str) -> Iterator[torch.Tensor]:
        yield torch.zeros(1)
        raise RuntimeError(message)

    guarded = check_workers(chunks("DataLoader worker (pid(s) 7) exited unexpectedly"))
    next(guarded)
    with pytest.raises(HandsimError, match=r"^a process that decodes crops died \(DataLoader.*take fewer"):
        next(guarded)
    with pytest.raises(RuntimeError, match="another mistake"):
        list(check_workers(chunks("another mistake")))
