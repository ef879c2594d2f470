"""The throw-away folders of runs without namespaces: where they may lie, when one is too full, and their end.

Knows folders, modes and free space.  Knows nothing of sandboxes, programs or verdicts.

Whatever a program leaves there is removed: folders in folders thousands deep, folders without rights, any names.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from parallax_lib.core.errors import UserError

ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm")  # where TMPDIR will not do
NEEDED = 512 << 20  # bytes free: what one compilation may leave, and some
FILES = 1000  # inodes free
FOLDERS = 3  # a run with namespaces has three scratch folders of the limit's size
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
ROOM = "an empty file; free space or inodes, or: export TMPDIR=..."
ENTRIES = 20_000  # more files than this count as too full


def place(others: bool = True, needed: int = NEEDED) -> Path:
    """TMPDIR, or the first other folder in which programs (`others`: of another user) can run, with `needed` bytes free.

    UserError that says what is wrong.
    """
    first = _first()
    for folder in (first, *map(Path, ELSEWHERE)):
        if not unfit(folder, others, needed):
            return folder
    why = unfit(first, others, needed)
    raise UserError(f"TMPDIR {first}: {why}; name a folder with room that others may enter: export TMPDIR=/var/tmp")


def _first() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as e:
        raise UserError(f"no folder for temporary files can be written ({e.strerror}); free space, or: export TMPDIR=...") from None


@contextmanager
def host_file() -> Iterator[str]:
    """The path of an empty file of the host's, in TMPDIR or where else there is room for one."""
    for folder in (_first(), *map(Path, ELSEWHERE)):
        with suppress(OSError):
            file = tempfile.NamedTemporaryFile(prefix="parallax-", dir=folder)
            break
    else:
        raise UserError(f"no folder for temporary files has room for {ROOM}")
    with file:
        yield file.name


def lock_file(name: str, first: Path | None = None) -> int:
    """A descriptor of the file of this name in the first folder, TMPDIR or `first` before others, that has it or room for it.

    Processes with one TMPDIR meet in one file, as long as none of these folders fills up between.  UserError where none has room.
    """
    for folder in (first or _first(), *map(Path, ELSEWHERE)):
        with suppress(OSError):
            return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    raise UserError(f"no folder for temporary files has room for {ROOM}")


def private(name: str) -> Path | None:
    """The folder of this name and user in TMPDIR, which no other user enters; None where it cannot be made, or is another's."""
    try:
        path = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
        path.mkdir(mode=0o700, exist_ok=True)
        return path if path.stat().st_uid == os.getuid() and not path.is_symlink() else None
    except OSError:
        return None


def unfit(folder: Path, others: bool = True, needed: int = NEEDED) -> str:
    """Why programs cannot be run beneath the folder, "" when they can."""
    try:
        disk = os.statvfs(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            return "cannot be written"
        if disk.f_flag & os.ST_NOEXEC:
            return "is mounted noexec"
        if disk.f_bavail * disk.f_frsize < needed:
            return f"has {disk.f_bavail * disk.f_frsize >> 20} MiB free of the {needed >> 20} that are needed"
        if disk.f_files and disk.f_favail < FILES:  # some file systems tell none
            return f"has room for {disk.f_favail} files of the {FILES} that are needed"
        closed = [path for path in (folder.resolve(), *folder.resolve().parents) if not path.stat().st_mode & stat.S_IXOTH]
    except OSError as e:
        return e.strerror or str(e)
    return f"lies under {closed[-1]}, which other users cannot enter" if closed and others and os.geteuid() == 0 else ""


@contextmanager
def folder(others: bool = True, needed: int = NEEDED) -> Iterator[Path]:
    """A new folder that everyone who gets there may read, whatever the umask; removed with all that is in it."""
    path = Path(tempfile.mkdtemp(prefix="parallax-", dir=place(others, needed)))
    try:
        path.chmod(0o755)
        yield path
    finally:
        remove(path)


def remove(top: Path) -> None:
    """Remove a folder without recursion and with one open descriptor, however deep it is.  What cannot be removed stays."""
    with suppress(OSError):
        here, names, left = os.open(top, FOLDER), [], []
        try:
            left.append(_sorted_out(here))
            while names or left[-1]:
                if left[-1]:
                    name = left[-1].pop()
                    here = _go(here, name)
                    names.append(name)
                    left.append(_sorted_out(here))
                else:
                    left.pop()
                    here = _go(here, "..")
                    with suppress(OSError):
                        os.rmdir(names.pop(), dir_fd=here)
        finally:
            os.close(here)
        os.rmdir(top)


def _go(here: int, name: str) -> int:
    """A folder beside or above an open one, which is closed."""
    descriptor = os.open(name, FOLDER, dir_fd=here)
    os.close(here)
    return descriptor


def _sorted_out(fd: int) -> list[str]:
    """Names of the folders of an open folder, made accessible; everything else in it is removed."""
    folders = []
    for name in os.listdir(fd):
        with suppress(OSError):
            mode = os.lstat(name, dir_fd=fd).st_mode
            if stat.S_ISDIR(mode):
                if mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.chmod(name, 0o700, dir_fd=fd)
                folders.append(name)
            else:
                os.unlink(name, dir_fd=fd)
    return folders


def filling(folder: Path, most: int) -> Callable[[], bool]:
    """A test for a watcher: does the folder hold over `most` bytes, or too many files?  It looks closely where free space fell."""
    start = os.statvfs(folder)

    def full() -> bool:
        now = os.statvfs(folder)
        grown, files = (start.f_bfree - now.f_bfree) * now.f_frsize, start.f_ffree - now.f_ffree
        return (grown > most or files > ENTRIES) and _holds(folder, most)

    return full


def _holds(folder: Path, most: int) -> bool:
    size = count = 0
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with suppress(OSError):
                size += os.lstat(os.path.join(where, name)).st_blocks * 512
            count += 1
            if size > most or count > ENTRIES:
                return True
    return False
