"""Files of weights, of torch and of safetensors: read by what is in them, and without running any of it.

A file that cannot be read is called what it is: empty, cut short, a web page, a Git LFS pointer, an archive.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any, Final

from handsim.errors import HandsimError, one_line

_AGAIN: Final = "copy or download it again"
_UNPACK: Final = "unpack it, and give the file of weights in it"
_CONVERT: Final = "load it where it comes from, and save its `state_dict()` with torch.save or safetensors"
_OTHER_KINDS: Final[dict[bytes, tuple[str, str]]] = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the weights", "`git lfs pull` fetches them"),
    b"\x1f\x8b": ("is a gzip archive", _UNPACK),
    b"BZh": ("is a bzip2 archive", _UNPACK),
    b"\xfd7zXZ": ("is an xz archive", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("is a Zstandard archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", _UNPACK),
    b"\x89HDF": ("is an HDF5 file, as Keras writes", _CONVERT),
    b"GGUF": ("is a GGUF file", _CONVERT),
    b"\x93NUMPY": ("is a NumPy array", _CONVERT),
    b"\x89PNG": ("is a picture", "give a file of weights"),
    b"\xff\xd8\xff": ("is a picture", "give a file of weights"),
}
"""By its first bytes: what a file is, and what to do."""
_HTML: Final = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html)\b", re.IGNORECASE | re.DOTALL)
_ZIP: Final = b"PK\x03\x04"
_TORCH_BEFORE_ZIP: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin, and those of `_use_new_zipfile_serialization=False`."""
_HEAD_BYTES: Final = 4096
_LONGEST_HEADER: Final = 100_000_000
"""Of safetensors, in bytes; its own bound."""
_PICKLED_OBJECT: Final = re.compile(r"GLOBAL (\S+)")
"""How torch names what it refuses to unpickle, in both of its file formats."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a file of weights holds, on the CPU: by name, the tensors, and in one of torch whatever else.

    It is mapped into memory where it can be, so that optimizer states, which may not be used, cost nothing.
    Pickled objects are refused, never unpickled. What is in the file decides how it is read, not its name.
    Empty for a file of torch that holds no dict. Raises HandsimError for what is no checkpoint, is damaged,
    or cannot be opened.
    """
    import torch  # not above: faults are described without it
    from safetensors.torch import load_file

    head = _read_head(path)
    if fault := _find_fault(path, head):
        raise HandsimError(f"{path} {fault}")
    try:
        if _safetensors_header_bytes(head) is not None:
            return dict(load_file(path))
        if zipfile.is_zipfile(path) and path.suffix != ".safetensors":
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        else:  # only zip files can be mapped; by a file of the other suffix's name, torch goes by the suffix
            with path.open("rb") as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # on a damaged file, the readers fail in any way
        if pickled := _PICKLED_OBJECT.search(str(error)):
            raise HandsimError(
                f"{path} holds a pickled object ({pickled[1]}), which could run code, and is not read; "
                f"where you trust it, load it yourself and save `model.state_dict()` alone, or its entry "
                f"'state_dict'"
            ) from error
        raise HandsimError(f"{path} {_find_damage(path, head, error)}") from error
    return content if isinstance(content, dict) else {}


def describe_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file of weights that a reader failed on, and what to do, to stand after its name.

    Raises HandsimError where it cannot be opened.
    """
    head = _read_head(path)
    return _find_fault(path, head) or _find_damage(path, head, error)


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> HandsimError:
    return HandsimError(f"{path} cannot be read ({error.strerror or error}); let it be readable")


def _find_fault(path: Path, head: bytes) -> str:
    """What is wrong with a file that can be told without reading it, and what to do; empty: nothing."""
    if not head:
        return f"is empty (0 bytes); {_remedy(path)}"
    if _safetensors_header_bytes(head) is not None:
        return ""
    if not any(head):
        return f"is damaged: it begins with {len(head):,} zeros; {_remedy(path)}"
    for magic, (kind, remedy) in _OTHER_KINDS.items():
        if head.startswith(magic):
            return f"{kind}; {remedy}"
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "is a web page (HTML), not weights; download the file itself"
    if text := _first_line(head):
        return f"is a text, not weights (it begins with {text!r}); download or copy the file itself"
    if zipfile.is_zipfile(path):
        return _find_other_zip(path)
    if head.startswith(b"\x80") and not _TORCH_BEFORE_ZIP.startswith(head[: len(_TORCH_BEFORE_ZIP)]):
        return f"is a pickle that torch.save did not write, which could run code, and is not read; {_CONVERT}"
    if head.startswith(b"\x80"):
        return ""
    size = path.stat().st_size
    if head.startswith(_ZIP):
        return f"({size:,} bytes) is cut short: the end of a zip file is missing; {_remedy(path)}"
    return f"({size:,} bytes) is no file of torch or safetensors; give a file of weights"


def _first_line(head: bytes) -> str:
    """The beginning of a text; empty for what is none."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a letter is cut at the end
            return ""
        text = head[: error.start].decode()
    line = text.strip().partition("\n")[0].strip()[:40]
    return line if all(letter.isprintable() or letter.isspace() for letter in text) else ""


def _find_other_zip(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    last_parts = {name.rpartition("/")[2] for name in names}
    if "data.pkl" not in last_parts:
        few = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"is a zip archive that torch.save did not write (of {few or 'nothing'}); {_UNPACK}"
    if "constants.pkl" in last_parts:
        return f"is a TorchScript program, not weights; {_CONVERT}"
    return ""


def _find_damage(path: Path, head: bytes, error: Exception) -> str:
    """What is wrong with a file of torch or safetensors that a reader failed on, and what to do."""
    size = path.stat().st_size
    if (header := _safetensors_header_bytes(head)) is not None:
        whole = _safetensors_bytes(path, header)
        if whole is None:
            return f"is damaged: its header is no list of tensors; {_remedy(path)}"
        if size < whole:
            return f"is cut short: it has {size:,} of at least {whole:,} bytes; {_remedy(path)}"
    elif head.startswith(_ZIP):
        if broken := _first_broken(path):
            return f"is damaged: {broken} in it does not have its checksum; {_remedy(path)}"
    elif head.startswith(b"\x80"):
        return f"({size:,} bytes) is damaged or cut short; {_remedy(path)}"
    why = one_line(str(error) or type(error).__name__, 300)
    return f"({size:,} bytes) cannot be read as a checkpoint ({why}); {_remedy(path)}"


def _first_broken(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        return one_line(str(error))


def _safetensors_header_bytes(head: bytes) -> int | None:
    """Length of the JSON after the first eight bytes; None for another kind of file."""
    length = int.from_bytes(head[:8], "little")
    return length if head[8:9] == b"{" and length <= _LONGEST_HEADER else None


def _safetensors_bytes(path: Path, header_bytes: int) -> int | None:
    """Of the whole file, as its header says; to the header's end, if that is cut; None for a broken one."""
    with path.open("rb") as file:
        file.seek(8)
        header = file.read(header_bytes)
    if len(header) < header_bytes:
        return 8 + header_bytes
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return 8 + header_bytes + int(max(ends, default=0))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _remedy(path: Path) -> str:
    """What to do about a file that is not whole: of a run's checkpoints, another may be."""
    if path.suffix == ".ckpt":
        for other in sorted(path.parent.glob("*.ckpt")):
            if other.name != path.name and zipfile.is_zipfile(other):
                return f"{other.name} beside it is whole: give that one, or copy it over {path.name}"
    return _AGAIN
