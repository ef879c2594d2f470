"""What a sandbox refuses a program of a toolchain: the calls, their paths and errors, by a preloaded library.

Knows how the library is built and its lines.  Knows nothing of rules or verdicts: it explains, for whoever has to mend a machine.
"""

from __future__ import annotations

import re

from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.verdict.build import build, execute
from parallax_lib.verdict.harness import BUILD_LIMITS, PROBES
from parallax_lib.verdict.toolchain import Toolchain

LIBRARY = "denied.so"
LINE = re.compile(r"^@denied (.+)$", re.M)
LIMITS = Limits(cpu_s=20, memory_mb=4096)


def refused(code: str, toolchain: Toolchain, level: Level) -> list[str]:
    """One line for each different call that was refused while the program ran once; a line that says so where it could not be run."""
    command = ["g++", "-shared", "-fPIC", "-O1", "-w", f"{JOB}/denied.cpp", "-o", LIBRARY, "-ldl"]
    files = {"denied.cpp": (PROBES / "denied.cpp").read_bytes()}
    library = sandbox.run(command, files, BUILD_LIMITS, level, outputs=(LIBRARY,), roots=toolchain.roots).files.get(LIBRARY)
    built = build(code, toolchain, (), level)
    if not library or built.reason != "ok":
        return [f"not looked at: {'the library' if not library else 'the program'} does not build"]
    ran = execute(built.program, toolchain, ("1000", "7"), LIMITS, level, {"LD_PRELOAD": f"{JOB}/{LIBRARY}"}, {LIBRARY: library})
    return list(dict.fromkeys(LINE.findall(ran.outcome.stderr)))
