"""Saved views of the browser: a file of names and addresses."""

import json
from pathlib import Path

import pytest

from apps.cli import main
from handsim.errors import HandsimError, NotThereError
from handsim.views import SavedViews


def names(views: SavedViews) -> list[str]:
    return [view.name for view in views.read()]


def test_a_view_is_saved_renamed_and_deleted(tmp_path: Path) -> None:
    views = SavedViews(tmp_path / "home" / "views.json")
    assert views.read() == []
    views.save("  Thumbs,\n two nearest ", "mining?top_k=2")
    views.save("a < b", "?hand=03ab54f1c09d72e8&labels=%C3%BC")
    assert names(views) == ["a < b", "Thumbs, two nearest"]
    views.rename("a < b", "z")
    views.delete("Thumbs, two nearest")
    again = SavedViews(views.file).find("z")
    assert again.address == "?hand=03ab54f1c09d72e8&labels=%C3%BC"


def test_a_name_is_taken_once_and_an_unknown_one_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    views = SavedViews(tmp_path / "views.json")
    views.save("thumbs", "")
    views.save("fists", "map")
    for impossible in ("", "  ", "x" * 81, "\x00", "thumbs"):
        with pytest.raises(HandsimError, match="view"):
            views.save(impossible, "")
    with pytest.raises(HandsimError, match="already"):
        views.rename("fists", "thumbs")
    for act in (views.delete, views.find, lambda name: views.rename(name, "other")):
        with pytest.raises(NotThereError, match="no view 'thumb'; there are fists, thumbs"):
            act("thumb")
    assert names(views) == ["fists", "thumbs"]


def test_the_command_line_shows_links_renames_and_deletes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ("--home", str(tmp_path))
    assert main(["view", "show", *home]) == 0
    assert "no view yet" in capsys.readouterr().out
    SavedViews(tmp_path / "views.json").save("thumbs", "?hand=03ab54f1c09d72e8")
    assert main(["view", "rename", "thumbs", "fists", *home]) == 0
    capsys.readouterr()
    assert main(["view", "show", "--url", "https://hands.example/hands/", "--json", *home]) == 0
    (view,) = json.loads(capsys.readouterr().out)
    assert view["link"] == "https://hands.example/hands/?hand=03ab54f1c09d72e8"
    assert main(["view", "delete", "thumbs", *home]) == 2
    assert "no view 'thumbs'; there are fists" in capsys.readouterr().err
    assert main(["view", "delete", "fists", *home]) == 0


def test_a_damaged_file_is_named_and_stays(tmp_path: Path) -> None:
    views = SavedViews(tmp_path / "views.json")
    for text in ("", "[]", '{"format": 2, "views": []}', '{"format": 1, "views": [{"name": "x"}]}'):
        views.file.write_text(text)
        for act in (views.read, lambda: views.save("x", "")):
            with pytest.raises(HandsimError, match="cannot be read as saved views"):
                act()
        assert views.file.read_text() == text
