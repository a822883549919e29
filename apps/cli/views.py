"""``handsim view ...``: saved views of the browser, which are made there."""

import argparse
import json
from dataclasses import asdict
from typing import Final

from apps.cli.console import add_action, find_home, format_table
from handsim.views import SavedViews

_URL: Final = "http://127.0.0.1:8501"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim view``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = add_action(actions, "show", "all saved views, with their links")
    show.add_argument("--url", default=_URL, metavar="URL", help="where the browser is (%(default)s)")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)

    rename = add_action(actions, "rename", "give a view another name")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new_name", metavar="NEW")
    rename.set_defaults(run=_rename)

    delete = add_action(actions, "delete", "delete a view")
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(run=_delete)


def _views(options: argparse.Namespace) -> SavedViews:
    return SavedViews(find_home(options).views)


def _show(options: argparse.Namespace) -> int:
    views = _views(options).read()
    links = [f"{options.url.rstrip('/')}/{view.address}" for view in views]
    if options.json:
        content = [{**asdict(view), "link": link} for view, link in zip(views, links, strict=True)]
        print(json.dumps(content, indent=1, ensure_ascii=False))
    elif not views:
        print("no view yet; `handsim browse`, and Views above every page saves one")
    else:
        rows = [[view.name, view.saved_at[:16], link] for view, link in zip(views, links, strict=True)]
        print(format_table(["view", "saved (UTC)", "link"], rows))
    return 0


def _rename(options: argparse.Namespace) -> int:
    print(f"view {_views(options).rename(options.name, options.new_name).name}")
    return 0


def _delete(options: argparse.Namespace) -> int:
    _views(options).delete(options.name)
    print(f"view {options.name} deleted")
    return 0
