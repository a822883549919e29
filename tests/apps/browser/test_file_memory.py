import os
from pathlib import Path

from apps.browser.training.runs import FileCache, read_object


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    reads: list[Path] = []

    def read(path: Path) -> str:
        reads.append(path)
        return path.read_text()

    memory, file = FileCache(read), tmp_path / "file"
    assert memory(file) is None
    file.write_text("one")
    assert [memory(file), memory(file)] == ["one", "one"]
    assert len(reads) == 1
    file.write_text("two")
    os.utime(file, (1, 1))
    assert memory(file) == "two"
    file.unlink()
    assert memory(file) is None


def test_no_more_are_kept_than_fit(tmp_path: Path) -> None:
    memory = FileCache(Path.read_text, most=3)
    for number in range(10):
        (tmp_path / str(number)).write_text(str(number))
        assert memory(tmp_path / str(number)) == str(number)
    assert len(memory) == 3


def test_what_is_no_object_is_none(tmp_path: Path) -> None:
    memory = FileCache(read_object)
    for number, content in enumerate(["[1]", "{", "3", "[" * 100_000, '{"a": 1}']):
        (tmp_path / str(number)).write_text(content)
    assert [memory(tmp_path / str(number)) for number in range(5)] == [None, None, None, None, {"a": 1}]


def test_a_number_that_is_too_large_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1" + "0" * 400)
    assert FileCache(lambda path: float(int(path.read_text())))(tmp_path / "file") is None
