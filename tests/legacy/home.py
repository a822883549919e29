"""A home as an earlier commit wrote it, kept as text: recorded once from a real one, restored for a test.

    python -m tests.legacy.home HOME tests/legacy/home_e522b75.json

Text stays text, with a placeholder for the home's own path; long and binary files are compressed, in base64.
Of a checkpoint everything is recorded that is not a weight: names, shapes, settings, counters, the states of
loops and callbacks. Its weights are drawn at random when it is restored.
"""

import base64
import json
import lzma
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

_HOME: Final = "{HOME}"
_LONG_TEXT_BYTES: Final = 30_000
_LEFT_OUT_OF_STEPS: Final = {"pool", "set", "index", "checkpoints", "figures"}


def record(home: Path, target: Path) -> None:
    """Write a home as one JSON file; of an experiment's steps, their records and reports alone."""
    files: dict[str, Any] = {}
    names: dict[int, str] = {}
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = path.relative_to(home)
        if path.suffix == ".png":
            continue
        if name.parts[:2] == ("experiments", "steps") and _LEFT_OUT_OF_STEPS & set(name.parts[3:]):
            continue
        first = names.setdefault(path.stat().st_ino, name.as_posix())
        files[name.as_posix()] = {"link": first} if first != name.as_posix() else _file(path, str(home))
    lines = (f"{json.dumps(name)}: {json.dumps(content)}" for name, content in files.items())
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def restore(source: Path, home: Path, *, checkpoints_of: str = "") -> None:
    """Write a recorded home's files into the directory ``home``; checkpoints, which are large, of one run."""
    generator = torch.Generator().manual_seed(0)
    for name, content in json.loads(source.read_text()).items():
        path = home / name
        if path.suffix == ".ckpt" and path.parts[-3] != checkpoints_of:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case {"text": text}:
                path.write_text(text.replace(_HOME, str(home)))
            case {"binary": text}:
                unpacked = lzma.decompress(base64.b64decode(text))
                with path.open("wb") as file:  # Qdrant's files are megabytes of zeros behind a few bytes
                    file.write(unpacked.rstrip(b"\0"))
                    file.truncate(len(unpacked))
            case {"link": other}:
                path.hardlink_to(home / other)
            case {"checkpoint": value}:
                torch.save(_decode(value, str(home), generator), path)


def _file(path: Path, home: str) -> dict[str, Any]:
    if path.suffix == ".ckpt":
        return {"checkpoint": _encode(torch.load(path, map_location="cpu", weights_only=True), home)}
    content = path.read_bytes()
    with suppress(UnicodeDecodeError):
        if 0 not in content and len(content) < _LONG_TEXT_BYTES:
            return {"text": content.decode().replace(home, _HOME)}
    return {"binary": base64.b64encode(lzma.compress(content)).decode()}


def _encode(value: Any, home: str) -> Any:
    """What JSON has no type for becomes an object with one key that begins with "$"."""
    match value:
        case Tensor() if value.is_floating_point() and value.numel() > 1:
            # Second moments and variances must not be negative.
            return {"$drawn": [*value.shape], "positive": bool((value >= 0).all())}
        case Tensor():
            return {"$tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
        case dict():
            if all(isinstance(key, str) for key in value):
                return {key: _encode(item, home) for key, item in value.items()}
            return {"$dict": [[key, _encode(item, home)] for key, item in value.items()]}
        case tuple():
            return {"$tuple": [_encode(item, home) for item in value]}
        case list():
            return [_encode(item, home) for item in value]
        case str():
            return value.replace(home, _HOME)
        case None | bool() | int() | float():
            return value
    raise TypeError(f"a checkpoint with a {type(value).__name__}")


def _decode(value: Any, home: str, generator: torch.Generator) -> Any:
    match value:
        case {"$drawn": shape, "positive": positive}:
            drawn = 0.05 * torch.randn(shape, generator=generator)
            return drawn.abs() + 1e-3 if positive else drawn
        case {"$tensor": values, "dtype": dtype}:
            return torch.tensor(values, dtype=getattr(torch, dtype))
        case {"$dict": items}:
            return {key: _decode(item, home, generator) for key, item in items}
        case {"$tuple": items}:
            return tuple(_decode(item, home, generator) for item in items)
        case dict():
            return {key: _decode(item, home, generator) for key, item in value.items()}
        case list():
            return [_decode(item, home, generator) for item in value]
        case str():
            return value.replace(_HOME, home)
    return value


if __name__ == "__main__":
    record(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
