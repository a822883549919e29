"""Threads that hand over; nothing here sleeps, each side waits for the other."""

import threading
from collections.abc import Generator
from threading import Event, Semaphore

import pytest

from training.runs.prefetch import Prefetcher

PATIENCE_S = 20.0


def living() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "test-ahead"]


def ahead(items: Generator[int, None, None], depth: int = 2) -> Prefetcher[int]:
    stream = Prefetcher(items, depth, "test-ahead")
    stream.start()
    return stream


def test_all_items_in_their_order_and_then_the_end() -> None:
    stream = ahead((number for number in range(50)), depth=3)
    assert list(stream) == list(range(50))
    assert next(stream, "none") == "none"
    assert stream.close()
    assert living() == []


def test_it_works_ahead_but_not_further_than_told() -> None:
    begun, made = [], Semaphore(0)

    def items() -> Generator[int, None, None]:
        for number in range(100):
            begun.append(number)
            yield number
            made.release()  # it was taken over, and the next one is asked for

    stream = ahead(items(), depth=4)
    for _ in range(3):
        assert made.acquire(timeout=PATIENCE_S)
    assert begun in ([0, 1, 2], [0, 1, 2, 3]), "nobody has asked for anything yet"
    for number in range(5):
        assert next(stream) == number
        assert made.acquire(timeout=PATIENCE_S)
        assert max(begun) <= number + 4
    stream.close()


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2
        raise KeyError("three")

    stream = ahead(items())
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

    stream = ahead(items())
    assert next(stream) == 1
    assert stream.close()
    assert cleaned == ["test-ahead"]
    assert list(stream) == []
    assert living() == []


def test_closing_waits_only_so_long_for_a_generator_that_is_stuck() -> None:
    release = Event()

    def items() -> Generator[int, None, None]:
        release.wait(PATIENCE_S)
        yield 1

    stream = ahead(items())
    assert not stream.close(patience_s=0.0)
    assert next(stream, None) is None, "nobody waits for it any more"
    release.set()
    assert stream.close(PATIENCE_S)
    assert list(stream) == []


def test_closing_frees_whoever_waits() -> None:
    release, answers = Event(), []

    def items() -> Generator[int, None, None]:
        release.wait(PATIENCE_S)
        yield 1

    asked = Event()

    def clock() -> float:
        asked.set()
        return 0.0

    stream = Prefetcher(items(), 1, "test-ahead", clock=clock)
    stream.start()
    waiting = threading.Thread(target=lambda: answers.append(list(stream)))
    waiting.start()
    assert asked.wait(PATIENCE_S)
    stream.end()
    waiting.join(PATIENCE_S)
    assert answers == [[]]
    release.set()
    assert stream.close(PATIENCE_S)


def test_it_tells_for_how_long_it_was_waited_for() -> None:
    asked, now = Event(), [0.0]

    def clock() -> float:
        asked.set()
        return now[0]

    def items() -> Generator[int, None, None]:
        for number in range(3):
            assert asked.wait(PATIENCE_S)  # somebody waits for it
            now[0] += 7.0
            seen.append(stream.waited_s)
            asked.clear()
            yield number

    seen: list[float] = []
    stream = Prefetcher(items(), 1, "test-ahead", clock=clock)
    stream.start()
    for number in range(3):
        assert next(stream) == number
    assert stream.waited_s == 21.0
    assert seen == [7.0, 14.0, 21.0], "also while it is still being waited for"
    stream.close()


def test_closing_what_was_never_started() -> None:
    stream = Prefetcher((number for number in range(3)), 1, "test-ahead")
    assert stream.close()
    assert list(stream) == []
