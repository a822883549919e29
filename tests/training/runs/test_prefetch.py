"""Items made ahead on another thread; nothing here sleeps, each side waits for the other."""

import threading
from collections.abc import Generator
from threading import Event, Semaphore

import pytest

from training.runs.prefetch import Prefetcher

TIMEOUT_S = 60.0


def live_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "test-prefetch"]


def prefetch(items: Generator[int, None, None], depth: int = 2) -> Prefetcher[int]:
    stream = Prefetcher(items, depth, "test-prefetch")
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


def test_closing_waits_only_so_long_for_a_generator_that_is_stuck() -> None:
    release = Event()

    def items() -> Generator[int, None, None]:
        release.wait(TIMEOUT_S)
        yield 1

    stream = prefetch(items())
    assert not stream.close(timeout_s=0.0)
    assert next(stream, None) is None, "a closed one has no items"
    release.set()
    assert stream.close(TIMEOUT_S)
    assert list(stream) == []


def test_closing_ends_a_wait_on_another_thread() -> None:
    release, answers = Event(), []

    def items() -> Generator[int, None, None]:
        release.wait(TIMEOUT_S)
        yield 1

    clock_read = Event()

    def clock() -> float:
        clock_read.set()
        return 0.0

    stream = Prefetcher(items(), 1, "test-prefetch", clock=clock)
    stream.start()
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
    stream = Prefetcher(items(), 1, "test-prefetch", clock=clock)
    stream.start()
    for number in range(3):
        assert next(stream) == number
    assert stream.waited_s == 21.0
    assert waits == [7.0, 14.0, 21.0], "also during the wait"
    stream.close()


def test_one_that_was_never_started_can_be_closed() -> None:
    stream = Prefetcher((number for number in range(3)), 1, "test-prefetch")
    assert stream.close()
    assert list(stream) == []
