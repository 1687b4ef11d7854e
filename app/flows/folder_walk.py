"""A folder and those below it, one at a time, without what nobody means by "my photos"."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from app.flows.takeout import is_year_folder

IGNORE_FILE = ".recollectignore"
# What systems and programs leave between photos. Names that begin with a dot are passed over as well.
JUNK = frozenset(
    {"@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "__MACOSX"}
)


@dataclass(frozen=True)
class Listing:
    """One folder: the names of its files, sorted, or why it cannot be listed."""

    path: Path
    name: str  # from where the walk began, with a slash at its end; "" for that folder itself
    files: list[str]
    problem: str = ""


@dataclass(frozen=True)
class IgnoreRules:
    """Patterns as in .gitignore files, each set from a folder of its own; the deepest that fits decides."""

    sets: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def and_below(self, name: str, lines: Iterable[str]) -> "IgnoreRules":
        """With the patterns that hold below the folder of this name. Raises: ValueError (a line that is none)."""
        spec = GitIgnoreSpec.from_lines(lines)
        return IgnoreRules((*self.sets, (name, spec))) if spec.patterns else self

    def ignore(self, name: str) -> bool:
        """For a name from where the walk began; a folder's ends with a slash."""
        verdicts = (spec.check_file(name.removeprefix(folder)).include for folder, spec in reversed(self.sets))
        return next((verdict for verdict in verdicts if verdict is not None), False)


def walk(top: Path, rules: IgnoreRules) -> Iterator[Listing]:
    """Depth first, each folder once, however many links lead to it. In memory are the names of one folder."""
    seen: set[tuple[int, int]] = set()
    waiting = [("", rules)]
    while waiting:
        name, rules = waiting.pop()
        folder = top / name
        try:
            here = folder.stat()
            if (here.st_dev, here.st_ino) in seen:
                continue
            seen.add((here.st_dev, here.st_ino))
            rules = _with_ignore_file(rules, name, folder / IGNORE_FILE)
            files, folders = _contents(folder)
        except OSError as error:
            yield Listing(folder, name, [], error.strerror or "cannot be listed")
        except ValueError as error:
            yield Listing(folder, name, [], f"{IGNORE_FILE}: {error}")
        else:
            yield Listing(folder, name, [file for file in files if not rules.ignore(name + file)])
            below = [name + folder for folder in folders]
            waiting += [(folder, rules) for folder in reversed(below) if not rules.ignore(folder)]


def _with_ignore_file(rules: IgnoreRules, name: str, path: Path) -> IgnoreRules:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return rules.and_below(name, file)
    except FileNotFoundError:
        return rules


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """The names of files, and of folders with a slash at their end."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in JUNK:
                continue
            with suppress(OSError):  # a link that leads nowhere, or round in circles
                if entry.is_dir():
                    folders.append(f"{entry.name}/")
                elif entry.is_file():
                    files.append(entry.name)
    # Albums before years: a photo of both keeps the words that it came with first, and so its album.
    folders.sort(key=lambda name: (is_year_folder(name.rstrip("/")), name))
    return sorted(files), folders
