"""The memory of a process, watched by another one: an engine that holds Python's lock cannot watch itself."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_INTERVAL_S = 0.1


class MemoryWatch:
    """The largest memory this process has had within a ``with`` block, in 10^9 bytes.

    Anonymous memory is the process's own; file memory is what it has mapped and touched, which the page cache
    shares between processes and may take back.
    """

    anonymous_gb: float
    """Largest anonymous memory."""
    file_gb: float
    """Largest mapped memory."""
    together_gb: float
    """Largest sum of both at one moment."""

    def __enter__(self) -> "MemoryWatch":
        self._watcher = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._watcher.stdout is not None
        self._watcher.stdout.readline()  # it has begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told, _ = self._watcher.communicate()
        self.anonymous_gb, self.file_gb, self.together_gb = json.loads(told)

    def figures(self) -> dict[str, float]:
        """What was seen, as JSON values."""
        return {
            "anonymous_gb": round(self.anonymous_gb, 3),
            "file_gb": round(self.file_gb, 3),
            "together_gb": round(self.together_gb, 3),
            "high_water_mark_gb": round(memory_gb(os.getpid(), "VmHWM"), 3),
        }


def memory_gb(pid: int, field: str) -> float:
    """A line of ``/proc/PID/status``, such as VmHWM, in 10^9 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024 / 1e9


def _watch(pid: int) -> None:
    """Look every so often until nobody listens any more, then tell the peaks."""
    peaks = [0.0, 0.0, 0.0]
    print("begun", flush=True)
    ended = False
    while not ended:
        anonymous, file = memory_gb(pid, "RssAnon"), memory_gb(pid, "RssFile")
        peaks = [max(pair) for pair in zip(peaks, (anonymous, file, anonymous + file), strict=True)]
        ended = bool(select.select([sys.stdin], [], [], _INTERVAL_S)[0])
    print(json.dumps(peaks))


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
