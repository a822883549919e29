"""Work beside the training, by threads or by other processes; results keep the order of the jobs."""

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
"""Jobs for each worker that are done, or under way, before their results are asked for."""

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")
JobT_contra = TypeVar("JobT_contra", contravariant=True)
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Workers(Protocol[JobT_contra, ResultT_co]):
    """Threads or processes that do jobs."""

    def map(self, jobs: Iterable[JobT_contra]) -> Generator[ResultT_co, None, None]:
        """The result of each job, in their order; a few jobs are taken ahead.

        Raises the HandsimError of a job that cannot be done, and what ``jobs`` raises once the results of all
        jobs before it were returned.
        """

    def close(self) -> None:
        """End the threads or processes."""


class WorkerThreads(Generic[JobT, ResultT]):
    """Threads of this process, one for each core: there is nothing to start and nothing to copy."""

    def __init__(self, work: Callable[[JobT], ResultT], name: str) -> None:
        self._work, self._ahead = work, _JOBS_AHEAD * available_cores()
        self._threads = ThreadPoolExecutor(available_cores(), thread_name_prefix=name)

    def map(self, jobs: Iterable[JobT]) -> Generator[ResultT, None, None]:
        running: deque[Future[ResultT]] = deque()
        error: Exception | None = None
        remaining = iter(jobs)
        while True:
            while error is None and len(running) < self._ahead:
                try:
                    running.append(self._threads.submit(self._work, next(remaining)))
                except StopIteration:
                    break
                except Exception as raised:  # raised again after the jobs before it
                    error = raised
            if not running:
                break
            yield running.popleft().result()
        if error is not None:
            raise error

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class WorkerProcesses(Generic[JobT, ResultT]):
    """Processes that live from the first job until this is closed or this process ends."""

    def __init__(self, work: Callable[[JobT], ResultT], workers: int) -> None:
        """``work`` is pickled into each; its tensors return in shared memory. None starts before `map`."""
        self._jobs = _JobSampler[JobT]()
        # A forked process would have a copy of threads' locks and of the index; these do not.
        context = get_context("forkserver")
        context.set_forkserver_preload([type(work).__module__])
        self._loader: DataLoader[ResultT | HandsimError] | None = DataLoader(
            _WorkDataset(work),
            batch_size=None,
            sampler=self._jobs,
            num_workers=workers,
            collate_fn=_unchanged,
            prefetch_factor=_JOBS_AHEAD,
            persistent_workers=True,
            multiprocessing_context=context,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else each start would use up one of the trainer's random numbers
        )

    def map(self, jobs: Iterable[JobT]) -> Generator[ResultT, None, None]:
        """See `Workers`; only one map may be under way."""
        assert self._loader is not None, "it is closed"
        self._jobs.begin(jobs)
        for result in check_workers(self._loader):
            if isinstance(result, HandsimError):
                raise result
            yield result
        if self._jobs.error is not None:
            raise self._jobs.error

    def close(self) -> None:
        self._loader = None  # they end with it


class _JobSampler(Generic[JobT]):
    """A sampler for the DataLoader, which takes a job from it whenever a worker has room.

    It does so on the thread that iterates over the DataLoader, so nothing here is shared.
    """

    def __init__(self) -> None:
        self.begin(())

    def begin(self, jobs: Iterable[JobT]) -> None:
        self._jobs = jobs
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[JobT]:
        try:
            yield from self._jobs
        except Exception as error:  # raised again after the jobs that are under way
            self.error = error


class _WorkDataset(Dataset[Any]):
    """In a worker: from a job to its result."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __getitem__(self, job: Any) -> Any:
        try:
            return self._work(job)
        except HandsimError as error:
            return error  # raised, it would arrive wrapped in a traceback


def check_workers(results: Iterable[ResultT]) -> Generator[ResultT, None, None]:
    """The results of a DataLoader; raises HandsimError when one of its workers died."""
    try:
        yield from results
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise HandsimError(
            f"a process that decodes crops died ({str(error).splitlines()[0]}); where memory or a "
            f"container's /dev/shm is full, take fewer trainer.workers or give it more"
        ) from error


def _begin_worker(number: int) -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    # A DataLoader's worker checks whether its parent lives. Here that is the fork server, which in turn lives
    # as long as a worker does: were the main process killed, both would stay for good.
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _unchanged(result: Any) -> Any:
    return result
