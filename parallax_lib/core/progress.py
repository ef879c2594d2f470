"""How far long work has come: what is counted, how fast, how long it will take, as one line and as a file that others follow.

Knows counts and clocks.  Knows nothing of what is counted.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "progress.json"  # of a run's folder
EVERY_S, CHANGED_S, LOOK_S = 10.0, 4.0, 0.5  # a line at least so often; one at most so often; between two looks at the file
KEEP_S = 0.5  # between two writes of the file


Inside = Callable[..., None]  # `Meter.inside`


def unheard(what: str, done: int, total: int = 0, unit: str = "", note: str = "", most: bool = False) -> None:
    """An `Inside` that nobody hears."""


@dataclass(frozen=True)
class Level:
    """Work that is counted.  `first` of `total` `unit` were done when it began; total 0: not known; most: it is an upper bound."""

    what: str
    done: int
    total: int = 0
    unit: str = ""
    note: str = ""
    most: bool = False
    began: float = 0.0  # seconds since the epoch
    first: int = 0
    at: float = 0.0  # when it was counted last


class Meter:
    """Counts of some work and of the part of it that is in hand; `keep(levels)` gets both, at most twice a second.

    meter("translate", 3, 10, "programs") counts the work; meter.inside("decode", 812, 4000, "tokens") its part, until the
    work moves on.
    """

    def __init__(self, keep: Callable[[Sequence[Level]], None], clock: Callable[[], float] = time.time):
        self.levels: list[Level] = []
        self._keep, self._clock, self._kept, self._lock = keep, clock, 0.0, threading.Lock()

    def __call__(self, what: str, done: int, total: int = 0, unit: str = "", note: str = "", most: bool = False) -> None:
        self._count(0, what, done, total, unit, note, most)

    def inside(self, what: str, done: int, total: int = 0, unit: str = "", note: str = "", most: bool = False) -> None:
        self._count(1, what, done, total, unit, note, most)

    def _count(self, depth: int, what: str, done: int, *rest) -> None:
        with self._lock:
            now, known = self._clock(), self.levels[depth : depth + 1]
            same = bool(known) and known[0].what == what and known[0].done <= done
            began, first = (known[0].began, known[0].first) if same else (now, done)
            self.levels[min(depth, len(self.levels)) :] = [Level(what, done, *rest, began=began, first=first, at=now)]
            if not same or not depth or now - self._kept >= KEEP_S:
                self._kept = now
                self._keep(self.levels)


def level_text(level: Level, now: float) -> str:
    """`collect: 3/8 programs, 0.4/s, about 12 s left`; rate and remaining time once there is a rate."""
    of = f"{level.done:,}" + (f" of at most {level.total:,}" if level.most else f"/{level.total:,}" if level.total else "")
    parts = [" ".join(filter(None, (f"{level.what}: {of}" if level.done or level.total else level.what, level.unit)))]
    elapsed, new = now - level.began, level.done - level.first
    if level.total and level.done >= level.total:
        waited = f"then at work for {duration(now - level.at)}" if now - level.at >= CHANGED_S else ""
        return ", ".join(filter(None, [*parts, f"in {duration(level.at - level.began)}" if new else "", waited, level.note]))
    if new > 0 and elapsed >= 1:
        parts.append(rate_text(new / elapsed))
        if level.total > level.done:
            parts.append(f"{'at most' if level.most else 'about'} {duration((level.total - level.done) * elapsed / new)} left")
    elif elapsed >= 1:
        parts.append(f"for {duration(elapsed)}")
    return ", ".join(filter(None, [*parts, level.note]))


def rate_text(rate: float) -> str:
    """`80/s`, `0.4/s`, `2 min 10 s each`."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s" if rate >= 0.1 else f"{duration(1 / rate)} each"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def line(levels: Sequence[Level], now: float | None = None) -> str:
    """The work, and its part in hand behind a bar."""
    now = time.time() if now is None else now
    return " | ".join(level_text(level, now) for level in levels)


def to_file(path: Path) -> Meter:
    """A meter whose counts stand in a file, whole at any moment, and below the notebook cell that is at work."""
    show = in_cell()

    def keep(levels: Sequence[Level]) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_text(json.dumps([asdict(level) for level in levels]), encoding="utf-8")
        os.replace(part, path)
        show(levels)

    return Meter(keep)


def read(path: Path) -> list[Level]:
    """The counts of a meter's file; none where there is none yet."""
    try:
        return [Level(**level) for level in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


class Printer:
    """Says how far the work of a file has come: new counts after CHANGED_S, and a line after EVERY_S whatever happens."""

    def __init__(self, path: Path, mark: str, say: Callable[[str], None], clock: Callable[[], float] = time.time):
        self._path, self._mark, self._say, self._clock = path, mark, say, clock
        self._began = self._said = clock()
        self._seen: list[tuple] = []

    def look(self, last: bool = False) -> None:
        levels, now = read(self._path), self._clock()
        seen, waited = [(level.what, level.done) for level in levels], now - self._said
        other = [what for what, _ in seen] != [what for what, _ in self._seen]
        if seen != self._seen and (other or waited >= CHANGED_S) or waited >= EVERY_S and not last:
            self._seen, self._said = seen, now
            self._say(f"{self._mark}   {line(levels, now) or f'at work for {duration(now - self._began)}'}")


@contextmanager
def watched(path: Path, mark: str, say: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, a thread says what a meter writes to the file; lines begin with `mark`."""
    path.unlink(missing_ok=True)
    with looking(Printer(path, mark, say).look):
        yield


@contextmanager
def looking(look: Callable[[bool], None], every_s: float = LOOK_S) -> Iterator[None]:
    """While it lasts, a thread calls look(False) every so many seconds; look(True) at the end."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every_s):
            look(False)
        look(True)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def in_cell() -> Callable[[Sequence[Level]], None]:
    """Shows counts below the notebook cell that is at work, one line that changes; nothing outside a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return lambda levels: None
    shown: dict[int, object] = {}  # cell's number -> what shows its line

    def show(levels: Sequence[Level]) -> None:
        from IPython.display import display

        text, cell = {"text/plain": line(levels)}, shell.execution_count
        if cell in shown:
            shown[cell].update(text, raw=True)
        else:
            shown[cell] = display(text, raw=True, display_id=True)

    return show
