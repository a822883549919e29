"""What results of networks have in common: an object per picture, whose name stands somewhere."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from handsim.errors import UnusableError

IMAGE_FIELDS: Final = (
    *("image", "image_path", "image_name", "img_path", "img_name", "imgname"),
    *("file_name", "filename", "file", "path"),
)

PictureResult = tuple[str, dict[str, Any]]
"""A picture's name, and what is said of it."""


def picture_results(
    values: Iterator[Any], file: PurePosixPath, fields: Sequence[str]
) -> Iterator[PictureResult | UnusableError]:
    """Each picture's result, of values that are results, lists of them, or objects that hold them by name.

    A result has one of ``fields``. One that names no picture is of the picture that is called as the file.
    """
    own_name = PurePosixPath(*file.parts[1:]).with_suffix("").as_posix()
    for value in values:
        if isinstance(value, UnusableError):
            yield value
        elif isinstance(value, dict) and _holds_results(value, fields):
            for name, results in value.items():
                for result in results if isinstance(results, list) else [results]:
                    yield _with_image(result, name, fields)
        else:
            for result in value if isinstance(value, list) else [value]:
                yield _with_image(result, own_name, fields)


def _holds_results(value: dict[str, Any], fields: Sequence[str]) -> bool:
    """Whether an object is no result, but has results under the names of their pictures."""
    is_result = any(field in value for field in fields)
    return not is_result and all(isinstance(result, (dict, list)) for result in value.values())


def _with_image(result: Any, name: str, fields: Sequence[str]) -> PictureResult | UnusableError:
    if not isinstance(result, dict) or not any(field in result for field in fields):
        return UnusableError("missing field", f"{name}: {result!r:.60} has none of {', '.join(fields)}")
    own = first_of(result, IMAGE_FIELDS)
    if isinstance(own, (int, float, dict)):
        return UnusableError("bad image", f"{name}: {own!r:.60} is no picture's name; mend it")
    return (own if isinstance(own, str) else name), result


def first_of(record: Mapping[str, Any], fields: Sequence[str]) -> Any:
    """The value of the first of these fields that a record has; None without any."""
    return next((record[field] for field in fields if record.get(field) is not None), None)


def picture_size(record: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Width and height of the picture, where the record says them."""
    size = first_of(record, ("img_size", "image_size"))
    width, height = (record.get("width"), record.get("height")) if size is None else (size[0], size[1])
    return None if width is None or height is None else (width, height)
