"""What is said of one program: how far it came, why not further, what was checked and what it cost.

Knows the parts of a verdict.  Decides nothing: the rules are in `validate` and the modules it asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from parallax_lib.sandbox.sandbox import Outcome
from parallax_lib.verdict import offload, races, serialised_control, timing, work_share
from parallax_lib.verdict.reference import visible

LOG_CHARS = 4000


@dataclass(frozen=True)
class Verdict:
    """level: 0 nothing extracted, 1 extracted, 2 compiles, 3 runs, 4 comparable output, 5 validated.

    `reason` says why not more; `seconds` is wall time, `cpu_s` CPU time spent in compilers and runs.
    """

    level: int
    reason: str
    parallel: str = "unknown"  # yes | no | unknown
    parallel_evidence: str = ""
    race_free: str = "not checked"  # yes | no | not checked
    race_evidence: str = ""
    faster: str = "not checked"
    log: str = ""
    checked: str = ""
    sandbox: str = ""
    toolchain: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0

    @property
    def validated(self) -> bool:
        return self.level == 5


Cost = Outcome | serialised_control.Spent | work_share.Work | offload.Offloaded | races.Checked | timing.Timed


def spend(verdict: Verdict, stage: Cost) -> Verdict:
    """The verdict with the stage's cost."""
    wall = stage.wall_s if isinstance(stage, Outcome) else stage.seconds
    cpu, seconds = verdict.cpu_s + stage.cpu_s, verdict.seconds + wall
    return replace(verdict, cpu_s=round(cpu, 3), seconds=round(seconds, 3))


def end(so_far: Verdict, level: int, reason: str, log: str) -> Verdict:
    """The verdict that ends here; the log is cut and made visible."""
    return replace(so_far, level=level, reason=reason, log=visible(log.strip())[:LOG_CHARS])
