"""Work that goes on beside the training, in other processes or on threads, its results in their order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import Any, Final, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from handsim.errors import HandsimError
from handsim.processes import available_cores

_JOBS_AHEAD: Final = 2
"""For each worker: those that are done, or under way, before anybody asks for them."""

JobT = TypeVar("JobT")
DoneT = TypeVar("DoneT")
JobT_contra = TypeVar("JobT_contra", contravariant=True)
DoneT_co = TypeVar("DoneT_co", covariant=True)


class Workers(Protocol[JobT_contra, DoneT_co]):
    """Who does the jobs."""

    def map(self, jobs: Iterable[JobT_contra]) -> Generator[DoneT_co, None, None]:
        """What each job comes to, in their order; a few jobs are asked for ahead.

        Raises the HandsimError of a job that cannot be done, and what ``jobs`` raises once all before it are
        through.
        """

    def close(self) -> None:
        """End the threads or processes."""


class WorkerThreads(Generic[JobT, DoneT]):
    """Threads of this process, one a core: nothing to start, and nothing to copy."""

    def __init__(self, work: Callable[[JobT], DoneT], name: str) -> None:
        """``name`` is what the threads are called."""
        self._work, self._ahead = work, _JOBS_AHEAD * available_cores()
        self._threads = ThreadPoolExecutor(available_cores(), thread_name_prefix=name)

    def map(self, jobs: Iterable[JobT]) -> Generator[DoneT, None, None]:
        """See `Workers`."""
        under_way: deque[Future[DoneT]] = deque()
        error: Exception | None = None
        waiting = iter(jobs)
        while True:
            while error is None and len(under_way) < self._ahead:
                try:
                    under_way.append(self._threads.submit(self._work, next(waiting)))
                except StopIteration:
                    break
                except Exception as raised:  # kept until the jobs before it are through
                    error = raised
            if not under_way:
                break
            yield under_way.popleft().result()
        if error is not None:
            raise error

    def close(self) -> None:
        """End the threads, once each is through with its job."""
        self._threads.shutdown(cancel_futures=True)


class WorkerProcesses(Generic[JobT, DoneT]):
    """Processes that stay from the first job until this is closed or this process ends."""

    def __init__(self, work: Callable[[JobT], DoneT], workers: int) -> None:
        """``work`` is pickled into each; its tensors return in shared memory. None starts before `map`."""
        self._jobs = _Jobs[JobT]()
        # A forked process would hold a copy of threads' locks and of the index; these are born clean.
        context = get_context("forkserver")
        context.set_forkserver_preload([type(work).__module__])
        self._loader: DataLoader[DoneT | HandsimError] | None = DataLoader(
            _Work(work),
            batch_size=None,
            sampler=self._jobs,
            num_workers=workers,
            collate_fn=_as_it_is,
            prefetch_factor=_JOBS_AHEAD,
            persistent_workers=True,
            multiprocessing_context=context,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else each start would use up one of the trainer's random numbers
        )

    def map(self, jobs: Iterable[JobT]) -> Generator[DoneT, None, None]:
        """See `Workers`; only one map may be under way."""
        assert self._loader is not None, "it is closed"
        self._jobs.begin(jobs)
        for done in living(self._loader):
            if isinstance(done, HandsimError):
                raise done
            yield done
        if self._jobs.error is not None:
            raise self._jobs.error

    def close(self) -> None:
        """End the workers."""
        self._loader = None  # they end with it


class _Jobs(Generic[JobT]):
    """What the DataLoader takes for a sampler: it asks for a job whenever a worker has room.

    It does so on the thread that iterates over the DataLoader, so nothing here is shared.
    """

    def __init__(self) -> None:
        self.begin(())

    def begin(self, jobs: Iterable[JobT]) -> None:
        self._waiting = jobs
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[JobT]:
        try:
            yield from self._waiting
        except Exception as error:  # kept until the jobs that are under way are through
            self.error = error


class _Work(Dataset[Any]):
    """In a worker: a job to what it comes to."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __getitem__(self, job: Any) -> Any:
        try:
            return self._work(job)
        except HandsimError as error:
            return error  # raised, it would arrive wrapped in a traceback


def living(results: Iterable[DoneT]) -> Generator[DoneT, None, None]:
    """What a DataLoader gives; raises HandsimError when one of its workers died."""
    try:
        yield from results
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise HandsimError(
            f"a process that decodes crops died ({str(error).splitlines()[0]}); memory ran out, or a "
            f"container has too little of it in /dev/shm: take fewer trainer.workers, or give it more"
        ) from error


def _begin_worker(number: int) -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    # A DataLoader's worker looks whether its parent lives. Here that is the fork server, which in turn lives
    # as long as a worker does: were the main process killed, both would stay for good.
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _as_it_is(done: Any) -> Any:
    return done
