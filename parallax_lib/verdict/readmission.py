"""When the machine is looked at again while it judges, and what happens when it has broken meanwhile.

Knows counts of verdicts and how alike failures are.  Knows no rule of a verdict and no known program: `admission` has those.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from parallax_lib.core.errors import UserError
from parallax_lib.verdict import admission
from parallax_lib.verdict.reference import Bench
from parallax_lib.verdict.result import Verdict

EVERY = 300  # new verdicts between two looks
ALIKE = 12  # failures of one kind in a row, with the same message
NOT_MACHINES = ("ok", "no_code", "cheat_suspected", "not_parallel")  # what no broken machine brings about
DETAIL = re.compile(r"[\d.]+|0x[0-9a-f]+|'[^']*'|‘[^’]*’|\"[^\"]*\"")


@dataclass
class Watch:
    """New verdicts since the machine was last found well: their keys in the journal, and the failures that go on alike."""

    keys: list[str] = field(default_factory=list)
    alike: int = 0
    last: tuple[str, str] = ("", "")
    harmless: set[tuple[str, str]] = field(default_factory=set)  # kinds that a look has shown to be the programs' own
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, key: str, verdict: Verdict) -> bool:
        """Count a new verdict; whether the machine is to be looked at now."""
        with self.lock:
            kind = (verdict.reason, DETAIL.sub("", verdict.log.split("\n", 1)[0])[:120])
            failed = verdict.reason not in NOT_MACHINES
            self.alike = self.alike + 1 if failed and kind == self.last else int(failed)
            self.last = kind
            self.keys.append(key)
            return len(self.keys) >= EVERY or (self.alike >= ALIKE and kind not in self.harmless)

    def well(self) -> None:
        """The machine is: what was judged since the last look stands."""
        with self.lock:
            self.harmless.add(self.last)
            self.keys.clear()
            self.alike = 0


WATCHES: dict[str, Watch] = {}


def watch(bench: Bench) -> Watch:
    """The process's watch over this bench's machine and journal."""
    return WATCHES.setdefault(f"{bench.journal.path if bench.journal else ''} {bench.admission}", Watch())


def look(bench: Bench, parts: Collection[str], judged: admission.Judged) -> None:
    """UserError where a part that was admitted fails now; else the watch starts anew.  Whoever gets the error calls `forget`."""
    watched = watch(bench)
    try:
        now = admission.admit(bench, parts, judged, again=True)
    except UserError as e:
        raise Broken(_message(str(e), watched)) from None
    if lost := now.lines:
        raise Broken(_message(f"this machine: {lost[0]}", watched))
    watched.well()


class Broken(UserError):
    """The machine was admitted and is no longer fit."""


def forget(bench: Bench, keys: Iterable[str] = ()) -> None:
    """Verdicts since the last good look, and those of `keys`, are judged again by the next run."""
    watched = watch(bench)
    if bench.journal:
        bench.journal.forget("verdict", [*watched.keys, *keys])
    watched.keys.clear()


def _message(why: str, watched: Watch) -> str:
    lost = f"the {len(watched.keys)} verdicts since the last good check are forgotten"
    return f"{why}; it judged well at first, so {lost}: mend it, then run the same command again"
