"""Files of weights are read by what is in them; what is none, or not whole, is called that, in one line."""

import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from handsim.checkpoints import read_checkpoint
from handsim.errors import HandsimError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(40_000)}


def _save_torch(path: Path) -> None:
    torch.save(WEIGHTS, path)


def _save_old_torch(path: Path) -> None:
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)


def _save_safetensors(path: Path) -> None:
    save_file(WEIGHTS, path)


FORMATS = [_save_torch, _save_old_torch, _save_safetensors]


def refusal(path: Path) -> str:
    with pytest.raises(HandsimError) as caught:
        read_checkpoint(path)
    line = str(caught.value)
    assert line.startswith(f"{path} ")
    assert "\n" not in line
    return line.removeprefix(f"{path} ")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights"])
@pytest.mark.parametrize("save", FORMATS)
def test_the_content_and_not_the_name_says_how_a_file_is_read(
    save: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    save(tmp_path / name)
    found = read_checkpoint(tmp_path / name)
    assert {key: value.tolist() for key, value in found.items()} == {
        key: value.tolist() for key, value in WEIGHTS.items()
    }


@pytest.mark.parametrize("save", FORMATS)
def test_a_file_that_is_cut_anywhere_is_called_cut(save: Callable[[Path], None], tmp_path: Path) -> None:
    save(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    path = tmp_path / "cut.pth"
    for size in (20, 100, 5_000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        line = refusal(path)
        assert re.search(r"\bcut short", line), (size, line)
        assert line.endswith("; copy or download it again")
    if save is _save_safetensors:
        assert f"it has {len(content) - 1:,} of at least {len(content):,} bytes" in line


def _write_zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"something")


def _write_page(path: Path) -> None:
    path.write_bytes(
        b"\xef\xbb\xbf\r\n <!-- a remark -->\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"
    )


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty (0 bytes); copy or download it again"),
        (lambda path: path.write_bytes(bytes(9_000)), "is damaged: it begins with 4,096 zeros; copy"),
        (lambda path: path.write_text(LFS), "is a Git LFS pointer, not the weights; `git lfs pull` fetches"),
        (_write_page, "is a web page (HTML), not weights; download the file itself"),
        (
            lambda path: path.write_text(json.dumps({"error": "Entry not found"})),
            """is a text, not weights (it begins with '{"error": "Entry not found"}'); download or copy""",
        ),
        (lambda path: path.write_text("é" * 3_000), "is a text, not weights (it begins with 'éé"),
        (lambda path: path.write_bytes(gzip.compress(b"weights")), "is a gzip archive; unpack it"),
        (lambda path: _write_zip(path, "a.txt", "b.txt"), "torch.save did not write (of a.txt, b.txt); unp"),
        (lambda path: _write_zip(path, "m/data.pkl", "m/constants.pkl"), "is a TorchScript program, not we"),
        (lambda path: np.save(path.open("wb"), np.zeros(3)), "is a NumPy array; load it where"),
        (lambda path: path.write_bytes(b"\x80\x02garbage, not torch's"), "is a pickle that torch.save did"),
        (lambda path: path.write_bytes(b"\x00\x01\x02\xff" * 9), "(36 bytes) is no file of torch or safet"),
        (lambda path: path.mkdir(), "cannot be read (Is a directory)"),
    ],
)
@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors"])
def test_other_files_are_called_what_they_are(
    write: Callable[[Path], None], message: str, name: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    assert message in refusal(tmp_path / name)


def test_a_checkpoint_that_is_not_whole_names_the_one_beside_it_that_is(tmp_path: Path) -> None:
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    _save_torch(best)
    last.write_bytes(best.read_bytes()[:1_000])
    assert refusal(last) == (
        "(1,000 bytes) is cut short: the end of a zip file is missing; best.ckpt beside it is whole: give "
        "that one, or copy it over last.ckpt"
    )
    best.write_bytes(b"")
    assert refusal(last).endswith("; copy or download it again")


def test_a_checkpoint_with_a_flipped_bit_is_damaged_or_read(tmp_path: Path) -> None:
    """Mapped tensors are not compared with their checksums; what torch has to understand is."""
    path = tmp_path / "flipped.pth"
    _save_torch(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"data.pkl") + 100] ^= 0xFF
    path.write_bytes(content)
    assert "is damaged: " in refusal(path)
