"""Doing on a thread what is needed next."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Iterator[T], Generic[T]):
    """Runs a generator on a thread of its own, some items ahead of whoever iterates over this.

    What the generator raises is raised here, after the items before it. The thread ends with the generator,
    or at `close`; it never keeps the program from ending.
    """

    def __init__(
        self,
        items: Generator[T, None, None],
        depth: int,
        name: str,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """The generator is asked for an item only while fewer than ``depth`` lie ready."""
        self._items, self._depth, self._clock = items, depth, clock
        self._ready: deque[T] = deque()
        self._changed = Condition()
        self._closed = False
        self._over = False
        self._error: BaseException | None = None
        self._waited_s = 0.0
        self._waits_since: float | None = None
        self._begun = False
        self._done = Event()
        self._thread = Thread(target=self._run, daemon=True, name=name)

    def start(self) -> None:
        """Begin. Apart from the making: interrupted right here, it is known already and can be closed."""
        self._begun = True
        self._thread.start()

    def __next__(self) -> T:
        """The next item, waited for; StopIteration after the last one, and once it is closed."""
        with self._changed:
            if not self._settled():
                self._waits_since = self._clock()
                try:
                    self._changed.wait_for(self._settled)
                finally:
                    self._waited_s += self._clock() - self._waits_since
                    self._waits_since = None
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            if self._error is not None and not self._closed:
                raise self._error
            raise StopIteration

    @property
    def waited_s(self) -> float:
        """For how long an item was waited for, in all and until this very moment."""
        with self._changed:
            now = 0.0 if self._waits_since is None else self._clock() - self._waits_since
            return self._waited_s + now

    def end(self) -> None:
        """Let nobody wait any longer, and the thread end as soon as the generator lets it."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()

    def close(self, patience_s: float = 10.0) -> bool:
        """End, and wait for the thread; returns whether it has ended."""
        self.end()
        # Not asked of the thread: where starting it was interrupted, that does not know yet that it lives.
        if self._begun and self._done.wait(patience_s):
            self._thread.join()
        return not self._begun or self._done.is_set()

    def _settled(self) -> bool:
        return bool(self._ready) or self._over or self._closed

    def _run(self) -> None:
        try:
            while self._has_room():
                try:
                    item = next(self._items)
                except StopIteration:
                    break
                with self._changed:
                    if not self._closed:
                        self._ready.append(item)
                        self._changed.notify_all()
                del item  # it may be large, and the next one takes long
            self._items.close()
        except BaseException as error:  # whoever iterates gets it, be it what it may
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            self._done.set()

    def _has_room(self) -> bool:
        """Wait for room; False once there is no need for any."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._depth or self._closed)
            return not self._closed
