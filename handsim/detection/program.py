"""A detector that is a program of the user's: JSON lines go in and out, one for each picture.

docs/detectors.md describes them. The program is not trusted: it may hang, die, grow or write rubbish, and
then costs no more than the picture that it was asked about. A `ProgramHands` asks a program, which it starts
as often as needed; a `_Program` is one life of it.
"""

import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.detection.answer import read_answer
from handsim.detection.detector import Detection, UndetectedError
from handsim.errors import HandsimError, NotThereError

_AHEAD: Final = 8
"""Lines that are written before answers are read. They fit into a pipe, so that writing never blocks."""
START_S: Final = 300.0
"""So long a program may take to start: it loads libraries and weights, and compiles for its GPU."""
_MAX_ANSWER_BYTES: Final = 1 << 20
"""Some five hundred hands."""
_LAST_WORDS_BYTES: Final = 4096
"""Of standard error, kept for messages."""
_SHOWN: Final = 200
"""Characters of a program's output in a message."""
_STOP_S: Final = 2.0
_LOOK_S: Final = 1.0
"""How often a program's memory is looked at while it is waited for."""
_MAX_FAILURES: Final = 10
"""Pictures in a row over which a program ends; then it is not started again."""
_GREY_PX: Final = 256
_GUARD: Final = 'read -r _; kill -s KILL -- "-$1"; rm -rf -- "$2"'
"""For a shell: wait until this process ends, even by SIGKILL, then end the program and its children."""

_Outcome = list[Detection] | str
"""The hands of a picture, or why it could not be looked at."""


class ProgramHands:
    """Finds hands by asking a program, for one thread at a time."""

    def __init__(self, command: str, seconds: float, gigabytes: float) -> None:
        """Start ``command``, and ask it about a grey picture.

        Over a picture it may be silent for ``seconds``; with its children it may use so many ``gigabytes``.
        Raises NotThereError for a program that is not there, HandsimError for one that answers wrongly.
        """
        self._command, self._seconds, self._max_bytes = command, seconds, round(gigabytes * 1e9)
        self._words = split_command(command)
        self._folder = tempfile.TemporaryDirectory(prefix="handsim-")
        self._program: _Program | None = None
        self._asked = 0
        self._failures = 0
        try:
            self._start()
        except _BrokenError as error:
            self.close()
            raise HandsimError(
                f"the detector program {command!r} {error}; docs/detectors.md says what it may answer"
            ) from error

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`. A picture over which the program ends is asked once more, alone."""
        outcomes: dict[int, _Outcome] = {}
        for first in range(0, len(pictures), _AHEAD):
            batch = dict(enumerate(pictures[first : first + _AHEAD], first))
            outcomes |= self._ask(batch)[0]
            for place in [place for place in batch if place not in outcomes]:
                again, why = self._ask({place: batch[place]})
                outcomes[place] = again.get(place, why)
                self._failures += not again
        # Why comes first: a report shows the beginning of it, and the command may be long.
        failures = {
            place: f"the program {why}: {self._command}"
            for place, why in outcomes.items()
            if isinstance(why, str)
        }
        found = [
            hands if isinstance(hands := outcomes[place], list) else [] for place in range(len(pictures))
        ]
        if failures:
            raise UndetectedError(found, failures)
        return found

    def close(self) -> None:
        """End the program; calling it twice is harmless."""
        if self._program is not None:
            self._program.close()
            self._program = None
        self._folder.cleanup()

    def _ask(self, pictures: Mapping[int, NDArray[np.uint8]]) -> tuple[dict[int, _Outcome], str]:
        """The outcomes of pictures, by their place; why the program had to be ended where some lack."""
        outcomes: dict[int, _Outcome] = {}
        if self._failures >= _MAX_FAILURES:
            return outcomes, f"is not asked any more: it failed over {_MAX_FAILURES} pictures in a row"
        try:
            for place, outcome in self._answers(self._start(), pictures, self._seconds):
                outcomes[place] = outcome
                self._failures = 0
        except _BrokenError as error:
            if self._program is not None:
                self._program.kill()
                self._program = None
            return outcomes, str(error)
        return outcomes, ""

    def _start(self) -> "_Program":
        """The program, running; raises _BrokenError."""
        if self._program is None:
            self._program = _Program(self._words, Path(self._folder.name), self._max_bytes)
            grey = np.full((_GREY_PX, _GREY_PX, 3), 128, np.uint8)
            for _, outcome in self._answers(self._program, {0: grey}, START_S):
                if isinstance(outcome, str):
                    raise _BrokenError(f"{outcome}, when it was asked about a grey picture")
        return self._program

    def _answers(
        self, program: "_Program", pictures: Mapping[int, NDArray[np.uint8]], patience_s: float
    ) -> Iterator[tuple[int, _Outcome]]:
        """Places and outcomes in the order of the answers; raises _BrokenError."""
        asked: dict[int, int] = {}
        paths: list[Path] = []
        try:
            for place, picture in pictures.items():
                number, self._asked = self._asked, self._asked + 1
                # BMP has no loss, every library reads it, and 1920 x 1080 are written in 26 ms (PNG: 640).
                paths.append(Path(self._folder.name, f"{number}.bmp"))
                try:
                    Image.fromarray(picture).save(paths[-1])
                except OSError as error:
                    why = f"cannot be shown a picture: {paths[-1]} cannot be written ({error.strerror})"
                    yield place, f"{why}; TMPDIR may name a folder with room"
                    continue
                height, width = picture.shape[:2]
                program.send({"id": number, "path": str(paths[-1]), "width": width, "height": height})
                asked[number] = place
            while asked:
                answer = program.receive(patience_s)
                answered = answer.get("id")
                if type(answered) is not int or answered not in asked:
                    raise _BrokenError(f"answered for a picture that was not asked: id {_quote(answered)}")
                place = asked.pop(answered)
                height, width = pictures[place].shape[:2]
                try:
                    yield place, read_answer(answer, width, height, f"command:{self._command}")
                except HandsimError as error:
                    yield place, str(error)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)


def split_command(command: str) -> list[str]:
    """The words of a command line; raises HandsimError without any, NotThereError without the program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise HandsimError(f"command:{command} has a quote that does not close") from error
    if not words:
        raise HandsimError("command: names no program; write command:PROGRAM, as in command:./my_detector")
    if shutil.which(words[0]) is None:
        raise NotThereError(
            f"the detector program {words[0]} is not there, or may not be run; give its path, or start it "
            "with its interpreter, as in command:python3 my_detector.py"
        )
    return words


class _BrokenError(Exception):
    """A program cannot be asked any more. The text says what it did, and begins with a verb."""


class _Program:
    """One life of a program. Its children are in its process group, and end with it."""

    def __init__(self, words: Sequence[str], folder: Path, max_bytes: int) -> None:
        """Start it; ``folder`` goes too if this process is killed. Raises _BrokenError."""
        self._max_bytes, self._looked = max_bytes, time.monotonic()
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise _BrokenError(f"cannot be started ({error.strerror})") from error
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", str(self._process.pid), folder], stdin=pipe, start_new_session=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._requests, self._answers, self._errors = (
            self._process.stdin,
            self._process.stdout,
            self._process.stderr,
        )
        self._selector = selectors.DefaultSelector()
        self._received, self._last_words = bytearray(), bytearray()
        for stream, buffer in ((self._answers, self._received), (self._errors, self._last_words)):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, buffer)

    def send(self, request: dict[str, Any]) -> None:
        """Write a line; raises _BrokenError."""
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def receive(self, patience_s: float) -> dict[str, Any]:
        """The next line; raises _BrokenError if none comes in time, or one that is no JSON object."""
        line = self._read_line(time.monotonic() + patience_s, patience_s)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._broken(
                f"wrote {_quote(line)}, which is no JSON object; standard output is for answers"
            )
        return answer

    def _read_line(self, deadline: float, patience_s: float) -> bytes:
        while (length := self._received.find(b"\n")) < 0:
            if len(self._received) > _MAX_ANSWER_BYTES:
                raise self._broken(f"answered with a line of more than {_MAX_ANSWER_BYTES >> 20} MB")
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise self._broken(f"sent nothing for {patience_s:g} s")
            for key, _ in self._selector.select(min(remaining_s, _LOOK_S)):
                if not self._take(key) and key.fileobj is self._answers:
                    raise self._ended()
            self._check_memory()
        line = bytes(self._received[:length])
        del self._received[: length + 1]
        return line

    def _take(self, key: selectors.SelectorKey) -> bool:
        """Take in what a stream has; False at its end."""
        try:
            data = os.read(key.fd, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            self._selector.unregister(key.fileobj)
        key.data.extend(data)
        del self._last_words[:-_LAST_WORDS_BYTES]
        return bool(data)

    def _check_memory(self) -> None:
        if (now := time.monotonic()) - self._looked >= _LOOK_S:
            self._looked = now
            if _group_bytes(self._process.pid) > self._max_bytes:
                raise self._broken(f"took more than {self._max_bytes / 1e9:g} GB of memory")

    def _ended(self) -> _BrokenError:
        """It closed its streams: most likely it ended."""
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            return self._broken("closed its standard output")
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        return self._broken(how)

    def _broken(self, how: str) -> _BrokenError:
        for key in list(self._selector.get_map().values()):
            if key.fileobj is self._errors:
                self._take(key)
        words = self._last_words.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "")
        return _BrokenError(f"{how} (its last words: {last[:_SHOWN]})" if last else how)

    def close(self) -> None:
        """Let it end, and kill it if it does not within seconds."""
        with suppress(BrokenPipeError):
            self._requests.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self.kill()

    def kill(self) -> None:
        """End it and all its children."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._guard.kill()
        for process in (self._process, self._guard):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        self._selector.close()
        assert self._guard.stdin is not None
        for stream in (self._requests, self._answers, self._errors, self._guard.stdin):
            with suppress(BrokenPipeError):
                stream.close()


def _group_bytes(group: int) -> int:
    """The memory of all processes of a group; 0 where there is no /proc."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_bytes().rpartition(b")")[2].split()  # a name may hold spaces and brackets
            if int(fields[2]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _quote(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else json.dumps(value)
    return repr(text[:_SHOWN])
