"""Items made on another thread before they are needed."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Iterator[T], Generic[T]):
    """Runs a generator on a thread of its own, some items ahead of the iteration over this.

    An error of the generator is raised here, after the items before it. The thread ends with the generator,
    or at `close`; it is a daemon, so it does not keep the program from ending.
    """

    def __init__(
        self,
        items: Generator[T, None, None],
        depth: int,
        name: str,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """An item is made only while fewer than ``depth`` are ready."""
        self._items, self._depth, self._clock = items, depth, clock
        self._ready: deque[T] = deque()
        self._changed = Condition()
        self._closed = False
        self._over = False
        self._error: BaseException | None = None
        self._waited_s = 0.0
        self._waiting_since: float | None = None
        self._started = False
        self._done = Event()
        self._thread = Thread(target=self._run, daemon=True, name=name)

    def start(self) -> None:
        """Start the thread; not in ``__init__``, so that the caller can close it after an interrupt here."""
        self._started = True
        self._thread.start()

    def __next__(self) -> T:
        """The next item, once it is ready; StopIteration after the last one, and once this is closed."""
        with self._changed:
            if not self._settled():
                self._waiting_since = self._clock()
                try:
                    self._changed.wait_for(self._settled)
                finally:
                    self._waited_s += self._clock() - self._waiting_since
                    self._waiting_since = None
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            if self._error is not None and not self._closed:
                raise self._error
            raise StopIteration

    @property
    def waited_s(self) -> float:
        """Seconds spent waiting for items, including a wait that has not ended."""
        with self._changed:
            now = 0.0 if self._waiting_since is None else self._clock() - self._waiting_since
            return self._waited_s + now

    def end(self) -> None:
        """End all waits, and the thread as soon as the generator returns to it; does not wait for that."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()

    def close(self, timeout_s: float = 10.0) -> bool:
        """End, and wait for the thread; returns whether it has ended."""
        self.end()
        # Not Thread.join: if `start` was interrupted, the thread object may not know yet that it runs.
        if self._started and self._done.wait(timeout_s):
            self._thread.join()
        return not self._started or self._done.is_set()

    def _settled(self) -> bool:
        return bool(self._ready) or self._over or self._closed

    def _run(self) -> None:
        try:
            while self._wait_for_room():
                try:
                    item = next(self._items)
                except StopIteration:
                    break
                with self._changed:
                    if not self._closed:
                        self._ready.append(item)
                        self._changed.notify_all()
                del item  # it may be large, and making the next one takes long
            self._items.close()
        except BaseException as error:  # raised by __next__, whatever it is
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            self._done.set()

    def _wait_for_room(self) -> bool:
        """Wait for room; False once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._depth or self._closed)
            return not self._closed
