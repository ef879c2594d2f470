"""A helper beside the harness that outlives it: when the harness is killed, it ends the sandboxes left behind.

Knows process command lines.  Knows nothing of sandboxes' insides, compilers or verdicts.

bubblewrap's --die-with-parent has a gap: its first child asks for the death signal a moment after it was made, and a
parent that dies in between is not noticed.  The helper waits for the end of a pipe that only the harness holds, then
kills every process whose command line carries this harness's token, for as long as such processes turn up.
"""

from __future__ import annotations

import functools
import os
import secrets
import subprocess
import sys

HELPER = r"""
import os, signal, sys, time
token = sys.argv[1].encode()
sys.stdin.buffer.read()
quiet = 0
while quiet < 20:
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid() and token in open("/proc/%s/cmdline" % pid, "rb").read():
                os.kill(int(pid), signal.SIGKILL)
                found += 1
        except OSError:
            pass
    quiet = 0 if found else quiet + 1
    time.sleep(0.05)
"""


def token() -> str:
    """This process's token; its helper starts with the first call.  A fork of the process gets its own."""
    return _start(os.getpid())[0]


@functools.cache
def _start(pid: int) -> tuple[str, subprocess.Popen]:
    mark = f"parallax-{secrets.token_hex(8)}"
    command = [sys.executable, "-I", "-S", "-c", HELPER, mark]
    helper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True
    )
    helper.returncode = 0  # it ends with this process, never before: nothing is to wait for it
    return mark, helper
