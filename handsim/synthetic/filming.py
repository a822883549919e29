"""Filming many videos of a synthetic world: a thread a core, each rendering a video alone."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from handsim.cores import available_cores
from handsim.errors import HandsimError
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.world import Samples, synthesise_video

Filmed = TypeVar("Filmed")


def synthesise(
    config: SyntheticConfig, *, batch_size: int = 64, videos: Iterable[int] | None = None
) -> Iterator[Samples]:
    """Film a world, or some of its ``videos`` (by number), in batches of ``batch_size`` or, at last, fewer.

    The same config gives the same bytes, whatever the batch size and whichever other videos are filmed.
    """
    if batch_size < 1:
        raise HandsimError(f"batch_size is {batch_size}; it must be at least 1")
    waiting: list[Samples] = []
    for filmed in film(config, range(config.videos) if videos is None else videos):
        waiting.append(filmed)
        if sum(map(len, waiting)) >= batch_size:
            joined = _join(waiting)
            whole = len(joined) // batch_size * batch_size
            for first in range(0, whole, batch_size):
                yield joined[first : first + batch_size]
            waiting = [joined[whole:]]
    if sum(map(len, waiting)):
        yield _join(waiting)


def film(config: SyntheticConfig, videos: Iterable[int]) -> Iterator[Samples]:
    """The ``videos`` of a world (by number), each whole, in their order."""
    return film_each(partial(synthesise_video, config), videos)


def film_each(film_video: Callable[[int], Filmed], videos: Iterable[int]) -> Iterator[Filmed]:
    """What ``film_video`` makes of each of ``videos`` (by number), in their order.

    A video a core, rather than every core on each step of one video: torch's threads wait for each other
    after every step, which costs a quarter on an idle machine and most of the speed on a busy one.
    """
    import torch

    # The number a thread sets is its own, but also what threads after it begin with: put back at the end.
    torch_threads = torch.get_num_threads()
    cores = available_cores()
    left = iter(videos)
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        filming: deque[Future[Filmed]] = deque()
        try:
            while True:
                for index in islice(left, cores + 1 - len(filming)):
                    filming.append(threads.submit(film_video, index))
                if not filming:
                    return
                yield filming.popleft().result()
        finally:
            for future in filming:
                future.cancel()
            torch.set_num_threads(torch_threads)


def _join(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    return Samples(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Samples)
        }
    )
