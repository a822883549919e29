"""Detectors that are programs: real child processes, most of which misbehave."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import Pool
from handsim.detection import DetectorOptions, HandDetector, open_detector
from handsim.detection.detector import UndetectedError
from handsim.detection.program import ProgramHands
from handsim.errors import HandsimError, NotThereError
from handsim.ingest import ingest
from tests.handsim.builders import write_picture, write_video

DOCUMENT = Path(__file__).parents[3] / "docs" / "detectors.md"

PROGRAM = """
import json, os, signal, sys, time

def points(width=100, height=100):
    return [[width * (0.2 + 0.03 * joint), height * (0.8 - 0.02 * joint)] for joint in range(21)]

for line in sys.stdin:
    asked = json.loads(line)
    number, width, height = asked["id"], asked["width"], asked["height"]
    hand = {"side": "left", "score": 0.9, "keypoints": points(width, height)}
    answer = {"id": number, "hands": [hand]}
    # What follows is the test's.
    BODY
    print(json.dumps(answer), flush=True)
"""
"""It finds one left hand in every picture; the body does to a picture of width 33 what a test is about."""


def write_program(folder: Path, body: str) -> str:
    """The command line of `PROGRAM` with a body of its own."""
    path = folder / "detector.py"
    path.write_text(PROGRAM.replace("BODY", body.replace("\n", "\n    ")))
    return f"{shlex.quote(sys.executable)} -S {shlex.quote(str(path))}"


def picture(width: int = 64) -> NDArray[np.uint8]:
    return np.full((48, width, 3), 90, np.uint8)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_example_of_the_document_finds_hands_in_pictures_and_videos(tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)[0]
    program = tmp_path / "my detector.py"
    program.write_text(example)
    photos = tmp_path / "photos"
    write_picture(photos / "bright.png", 200)
    write_picture(photos / "black.png", 0)
    write_video(photos / "clip.mp4", seconds=2)
    options = DetectorOptions(chain=f"command:{shlex.quote(sys.executable)} '{program}'")
    report = ingest([photos], tmp_path / "pool", partial(open_detector, options), workers=1)
    assert (report.pictures, report.hands_new) == (4, 2)  # the video's first frame is black, too
    pool = Pool.open(tmp_path / "pool")
    hand = next(hand for hand in map(pool.hand, pool.hand_ids.tolist()) if hand.file == "photos/bright.png")
    assert hand.side == "right"
    assert hand.score == pytest.approx(0.9)
    assert hand.box_px == pytest.approx([16, 16, 48, 48], abs=0.3)


def test_what_it_does_not_say_is_not_known(tmp_path: Path) -> None:
    body = """\
del hand["score"]
hand |= {"side": None, "side_score": None, "joint_scores": [0.5] * 21}
hand["keypoints"] = [[x, y, 3 + x] for x, y in points()]
answer["hands"] += [{"side": "right", "score": 0.4, "side_score": 0.75, "keypoints": points(40, 20)}]"""
    with closing(ProgramHands(write_program(tmp_path, body), 10, 1)) as detector:
        bare, told = detector.detect([picture(100)])[0]
    assert (bare.side, bare.score, bare.side_score) == ("unknown", 1.0, None)
    assert bare.joint_scores is not None
    np.testing.assert_allclose(bare.keypoints_px[:, 2], 3.0 * np.arange(21), atol=1e-4)  # from the wrist
    assert (told.side, told.score, told.side_score) == ("right", 0.4, 0.75)
    assert not told.keypoints_px[:, 2].any()
    assert told.detector.startswith("command:")


def test_a_bad_value_costs_its_picture_alone(tmp_path: Path) -> None:
    cases = {
        'answer = {"id": number, "error": "out of memory"}': "says 'out of memory'",
        'del answer["hands"]': "answered wrongly: there is no list of hands",
        'answer["hands"] = [hand, 7]': "hand 2: it is no JSON object",
        'hand["side"] = "up"': "hand 1: side is 'up'; give left, right or null",
        'hand["score"] = 7': "hand 1: score is 7; give a number from 0 to 1",
        'hand["side_score"] = 0.2': "hand 1: side_score is 0.2; give a number from 0.5 to 1",
        'hand["joint_scores"] = [1] * 20': "hand 1: joint_scores are not 21 numbers from 0 to 1",
        'del hand["keypoints"]': "hand 1: keypoints are no list; give 21",
        'hand["keypoints"].pop()': "hand 1: keypoints are a list of 20; give 21",
        'hand["keypoints"][3] = [1, 2, 3]': "hand 1: keypoints are not all [x, y], and not all [x, y, z]",
        'hand["keypoints"][3] = [float("nan"), 2]': "hand 1: joint 3 is [nan, 2]; give finite numbers",
        'hand["keypoints"][3] = ["4", 2]': "hand 1: joint 3 is ['4', 2]; give finite numbers",
        'hand["keypoints"][3] = [10 ** 400, 2]': "hand 1: joint 3 is [1000",
        'hand["keypoints"] = points(1, 1)': "hand 1: all keypoints lie within one pixel; they are in pixels",
        'hand["keypoints"][3] = [-900, 2]': "hand 1: keypoints reach from x -900, y",
        'hand["keypoints"] = [[-x, y] for x, y in points(20, 20)]': "too far outside of the picture of",
    }
    body = "".join(f"if width == {100 + place}: {code}\n" for place, code in enumerate(cases))
    pictures = [picture(), *(picture(100 + place) for place in range(len(cases))), picture()]
    with closing(ProgramHands(write_program(tmp_path, body), 10, 1)) as detector:
        with pytest.raises(UndetectedError) as caught:
            detector.detect(pictures)
        assert [len(hands) for hands in caught.value.found] == [1, *[0] * len(cases), 1]
        for place, message in enumerate(cases.values(), start=1):
            assert message in caught.value.failures[place]
            assert "\n" not in caught.value.failures[place]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('sys.exit("no more memory")', "ended with exit code 1 (its last words: no more memory)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
        ("time.sleep(99)", "sent nothing for 1 s"),
        ('print("Loading ...")', "wrote 'Loading ...', which is no JSON object"),
        ('print("[" * 90000)', "which is no JSON object"),
        ('answer["id"] -= 1', "answered for a picture that was not asked: id "),
        ('answer["id"] = [3]', "answered for a picture that was not asked: id '[3]'"),
        ('sys.stdout.write("x" * 2**21)', "answered with a line of more than 1 MB"),
        ("much = b'x' * 400_000_000; time.sleep(99)", "took more than 0.3 GB of memory"),
    ],
)
def test_a_program_that_misbehaves_costs_the_picture_that_it_was_asked_about(
    tmp_path: Path, body: str, message: str
) -> None:
    command = write_program(tmp_path, f"if width == 33: {body}")
    seconds = 1 if "1 s" in message else 20
    with closing(ProgramHands(command, seconds, 0.3)) as detector:
        with pytest.raises(UndetectedError) as caught:
            detector.detect([picture(), picture(33), picture(), picture()])
        assert [len(hands) for hands in caught.value.found] == [1, 0, 1, 1]
        assert message in caught.value.failures[1].removesuffix(command)
        assert caught.value.failures[1].startswith("the program ")
        assert len(detector.detect([picture()])[0]) == 1


@pytest.mark.parametrize("slip", ["sys.exit(3)", "print(json.dumps(answer))", "time.sleep(99)"])
def test_after_a_slip_its_pictures_are_asked_once_more(tmp_path: Path, slip: str) -> None:
    body = """\
if width == 33 and not os.path.exists("TMP/slipped"):
    open("TMP/slipped", "w").close()
    SLIP""".replace("TMP", str(tmp_path)).replace("SLIP", slip)
    with closing(ProgramHands(write_program(tmp_path, body), 1, 1)) as detector:
        found = detector.detect([picture(), picture(33), *[picture()] * 9])
    assert [len(hands) for hands in found] == [1] * 11


def test_a_program_that_always_fails_is_left_alone_after_a_while(tmp_path: Path) -> None:
    body = "if number: print(number, file=open('TMP/asked', 'a')); sys.exit(3)".replace("TMP", str(tmp_path))
    with closing(ProgramHands(write_program(tmp_path, body), 20, 1)) as detector:
        with pytest.raises(UndetectedError, match="ended with exit code 3") as caught:
            detector.detect([picture()] * 30)
        assert "is not asked any more: it failed over 10 pictures in a row" in caught.value.failures[29]
    assert len((tmp_path / "asked").read_text().split()) < 15


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("{python} -c 'import no_such_library'", "ended with exit code 1 (its last words: ModuleNotFound"),
        ("{python} -c ''", "ended with exit code 0"),
        ("sh -c 'echo hello; cat'", "wrote 'hello', which is no JSON object; standard output is for answers"),
        ("cat", "answered wrongly: there is no list of hands, when it was asked about a grey picture"),
        ("/", "is not there, or may not be run"),
        ("no_such_program --gpu 0", "no_such_program is not there, or may not be run"),
        (" ", "names no program"),
        ("sh -c 'exit", "has a quote that does not close"),
    ],
)
def test_a_program_that_does_not_work_is_refused_at_once(command: str, message: str) -> None:
    with pytest.raises(HandsimError) as caught:
        ProgramHands(command.replace("{python}", shlex.quote(sys.executable)), 20, 1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, NotThereError) == ("is not there" in message)


@pytest.mark.parametrize("how", ["close", "kill"])
def test_nothing_of_a_program_outlives_the_process_that_asks_it(tmp_path: Path, how: str) -> None:
    """A program that does not end by itself, and started another one."""
    body = """\
import subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
open("TMP/pids", "w").write(f"{os.getpid()} {child.pid} {asked['path']}")
print(json.dumps(answer), flush=True)
time.sleep(99)""".replace("TMP", str(tmp_path))
    code = f"""
import sys, time
from handsim.detection.program import ProgramHands
detector = ProgramHands({write_program(tmp_path, body)!r}, 20, 1)
print("ready", flush=True)
sys.stdin.read()
detector.close()"""
    asker = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1)
    assert asker.stdout is not None
    assert asker.stdout.readline() == b"ready\n"
    *pids, path = (tmp_path / "pids").read_text().split()
    folder = Path(path).parent
    assert folder.is_dir()
    assert all(is_alive(int(pid)) for pid in pids)
    if how == "kill":
        os.kill(asker.pid, signal.SIGKILL)
    asker.communicate(timeout=20)
    until = time.monotonic() + 20
    while any(is_alive(int(pid)) for pid in pids) or folder.exists():
        assert time.monotonic() < until, f"{pids} or {folder} are still there"
        time.sleep(0.05)


def test_pictures_over_which_it_failed_are_told_and_looked_at_by_the_next_run(tmp_path: Path) -> None:
    photos, pool = tmp_path / "photos", tmp_path / "pool"
    for level in (50, 100, 150):
        write_picture(photos / f"{level}.png", level)
    mended = tmp_path / "mended"
    body = f"""\
if open(asked["path"], "rb").read()[-1] == 100 and not os.path.exists({str(mended)!r}): sys.exit(7)"""
    options = DetectorOptions(chain=f"command:{write_program(tmp_path, body)}")
    make_detector: partial[HandDetector] = partial(open_detector, options)
    report = ingest([photos], pool, make_detector, workers=1)
    assert (report.done_now, report.hands_in_pool, report.reasons()) == (3, 2, {"detector failed": 1})
    (skip,) = report.skipped
    assert skip.file == "photos/100.png"
    assert "ended with exit code 7" in skip.detail
    mended.touch()
    again = ingest([photos], pool, make_detector, workers=1)
    assert (again.done_before, again.done_now, again.hands_in_pool) == (2, 1, 3)
