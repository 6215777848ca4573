"""Which files may be read as a source: below one directory that the operator names."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from extraction.address import AddressPolicy
from extraction.errors import FileRefused, NoSuchDatabase

BELOW = "Write the path of the file below the directory of file sources, such as shop.db."


def resolve_file(database: str, policy: AddressPolicy) -> Path:
    """The file that a relative path names, without symbolic links. Raises FileRefused for
    what may not be read, NoSuchDatabase where there is no file."""
    if policy.files is None:
        raise FileRefused(
            "These workers read no files.",
            "Set SOURCE_FILES for the workers to the directory that holds the files.",
        )
    problem = path_problem(database)
    if problem:
        raise FileRefused(problem, BELOW)
    try:
        root = policy.files.resolve(strict=True)
        found = (root / database).resolve(strict=True)
        mode = found.stat().st_mode
    except PermissionError:
        raise FileRefused("The workers may not read this file.") from None
    except (OSError, RuntimeError):
        raise NoSuchDatabase(
            "There is no file of this name.", "Correct the path, or put the file there."
        ) from None
    if not found.is_relative_to(root):
        raise FileRefused("The path leads out of the directory of file sources.", BELOW)
    if not stat.S_ISREG(mode):
        raise FileRefused("This is not a regular file.", BELOW)
    return found


def path_problem(database: str) -> str:
    """Why this is not the path of a file below a directory, or the empty string."""
    path = PurePosixPath(database)
    if not database or path in (PurePosixPath("."), PurePosixPath("/")):
        return "The path of the file is missing."
    if "\0" in database or "\\" in database:
        return "A path holds no NUL and no backslash."
    if path.is_absolute():
        return "An absolute path is not allowed."
    if ".." in path.parts:
        return "A path with .. is not allowed."
    if database.lower().startswith("file:") or "://" in database or database.startswith(":"):
        return "This is a path, not a URL or a special name."
    return ""
