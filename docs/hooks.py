"""What the site has beside the files of docs/: MkDocs calls these functions when it builds it.

Added are the reference of the command line (from argparse) and of Python (from docstrings), and a page for
each file of the repository that another page links to. Nothing of it is kept: every build makes it anew.
"""

import ast
import json
import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from apps.cli.main import COMMANDS
from apps.cli.reference import describe_command, describe_commands

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_PACKAGES: Final = ("handsim", "index", "training")
_RENAMED: Final = {"docs/welcome.md": "index.md", "docs/index.md": "the-index.md"}
"""File -> page. MkDocs takes index.md for the first page of the site; ours is about the index."""
_HAND: Final = "apps/browser/entry/favicon.svg"
_NOTEBOOK: Final = "docs/notebook.ipynb"
_LINK: Final = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")
_PICTURE: Final = re.compile(r"!\[([^\]]*)\]\((pictures/[\w-]+)\.webp\)")
_LANGUAGES: Final = {".py": "python", ".yaml": "yaml", ".js": "javascript"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put a page for each command and each package into the navigation, below the page over all of them."""
    below = {
        "cli/index.md": [{name: f"cli/handsim-{name}.md"} for name in COMMANDS],
        "python/index.md": [{name: f"python/package-{name}.md"} for name in _find_packages()],
    }
    config.nav = _extend(config.nav, below)
    return config


def _extend(nav: object, below: dict[str, list[dict[str, str]]]) -> object:
    if isinstance(nav, list):
        return [_extend(item, below) for item in nav]
    if isinstance(nav, dict):
        return {title: _extend(item, below) for title, item in nav.items()}
    return [nav, *below[nav]] if isinstance(nav, str) and nav in below else nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Rename the pages that MkDocs needs under other names, and add those that are made."""
    for source in _RENAMED:
        if (file := files.get_file_from_path(source.removeprefix("docs/"))) is not None:
            files.remove(file)
    made = {
        **{path: (_REPOSITORY / source).read_text("utf-8") for source, path in _RENAMED.items()},
        "notebook.md": _show_notebook(),
        "cli/index.md": describe_commands(),
        **{f"cli/handsim-{name}.md": describe_command(name) for name in COMMANDS},
        "python/index.md": _describe_packages(),
        **{f"python/package-{name}.md": f"# {name}\n\n::: {name}\n" for name in _find_packages()},
        **{_page_of(path): _show_source(path) for path in _find_linked_sources()},
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    files.append(File.generated(config, "assets/hand.svg", abs_src_path=str(_REPOSITORY / _HAND)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the pages of this site, and give each picture its dark sibling."""
    here = page.file.src_uri
    source = _source_of(here)
    folder = posixpath.dirname(here)

    def link(found: re.Match[str]) -> str:
        target = _resolve(source, found[1])
        if not (_REPOSITORY / target).exists():
            return found[0]  # of a page that is made; of any other, MkDocs says that it is not found
        return f"]({posixpath.relpath(_page_of(target), folder or '.')}{found[2]})"

    def both_themes(found: re.Match[str]) -> str:
        light, dark = f"{found[2]}.webp", f"{found[2]}-dark.webp"
        return f"![{found[1]}]({light}#only-light)![{found[1]}]({dark}#only-dark)"

    return _PICTURE.sub(both_themes, _LINK.sub(link, markdown))


def _resolve(source: str, link: str) -> str:
    """The path in the repository that a link in one of its files leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _page_of(path: str) -> str:
    """The page of the site that shows a file or folder of the repository."""
    if path in _RENAMED:
        return _RENAMED[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"code/{path}.md"


def _source_of(page: str) -> str:
    """The file of the repository that a page shows: the other way round."""
    if page.startswith("code/"):
        return page.removeprefix("code/").removesuffix(".md")
    return next((path for path, renamed in _RENAMED.items() if renamed == page), f"docs/{page}")


def _find_linked_sources() -> list[str]:
    """The files and folders outside of docs/ that its pages link to."""
    pages = sorted((_REPOSITORY / "docs").rglob("*.md"))
    targets = {
        _resolve(page.relative_to(_REPOSITORY).as_posix(), found[1])
        for page in pages
        for found in _LINK.finditer(page.read_text("utf-8"))
    }
    return sorted(
        path for path in targets if not path.startswith(("docs/", "..")) and (_REPOSITORY / path).exists()
    )


def _show_source(path: str) -> str:
    """A page with a file, or with the files of a folder; the site's search leaves code out."""
    place = _REPOSITORY / path
    if place.suffix == ".md":
        return place.read_text("utf-8")
    head = f"---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n# {path}\n\n"
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if file.suffix == ".py" and file.stem != "__init__")
        return head + "".join(f"- `{file.name}`: {_first_line(file)}\n" for file in files)
    fence = "`" * 8
    return f"{head}{fence}{_LANGUAGES.get(place.suffix, 'text')}\n{place.read_text('utf-8')}\n{fence}\n"


def _show_notebook() -> str:
    """The tutorial's notebook as a page: its text, and its code without what that prints."""
    cells = json.loads((_REPOSITORY / _NOTEBOOK).read_text("utf-8"))["cells"]
    parts = [
        "".join(cell["source"])
        if cell["cell_type"] == "markdown"
        else f"```python\n{''.join(cell['source'])}\n```"
        for cell in cells
    ]
    return "\n\n".join(parts) + "\n"


def _find_packages() -> dict[str, Path]:
    """Packages that export names, and their ``__init__.py``."""
    found = sorted(file for package in _PACKAGES for file in (_REPOSITORY / package).rglob("__init__.py"))
    return {
        ".".join(file.parent.relative_to(_REPOSITORY).parts): file
        for file in found
        if "\n__all__ = " in file.read_text("utf-8")
    }


def _describe_packages() -> str:
    lines = [
        f"- [`{name}`](package-{name}.md): {_first_line(file)}\n" for name, file in _find_packages().items()
    ]
    head = "What each package exports; [who imports whom](../architecture.md#the-four-packages)."
    return f"# Python\n\n{head}\n\n{''.join(lines)}"


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]
