"""The sandbox without user namespaces: Landlock, a system-call filter, rlimits and a subreaper (level "degraded").

Knows Linux's own restrictions on a process.  Knows nothing of compilers, programs or verdicts.

A small launcher restricts itself and then becomes the command: files can be read beneath the system's folders and the
job's, written beneath the throw-away work folder only; no internet sockets; no signals out of the tree.  Started by root,
each run gets a user id of its own, whose limit of processes counts it alone; without root that limit counts the user's
other processes too and leaves room for them.  Not kept here:
sized scratch folders (only each file is bounded), private process numbers, private /tmp and /dev/shm (they cannot be
written at all), and hiding the host's folder names.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys
from pathlib import Path

READ = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/sys/devices/system/cpu")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_READ = ("/proc", "/sys/devices", "/sys/bus/pci", "/sys/module")  # /proc of others stays closed: Landlock refuses what ptrace would
LAUNCHER = r"""
import ctypes, json, os, signal, struct, sys
plan = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    r = libc.syscall(*args)
    if r < 0: sys.exit("degraded: system call %d: %s" % (args[0], os.strerror(ctypes.get_errno())))
    return r
libc.prctl(36, 1, 0, 0, 0)  # orphans come back to this process
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    while True:  # end whatever the command left behind, generation after generation
        left = open("/proc/self/task/%d/children" % os.getpid()).read().split()
        if not left: break
        for pid in left:
            try: os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError: pass
        try: os.waitpid(-1, 0)
        except ChildProcessError: break
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
abi = plan["abi"]
fs = (1 << 13) - 1
if abi >= 2: fs |= 1 << 13
if abi >= 3: fs |= 1 << 14
if abi >= 5: fs |= 1 << 15
attr = struct.pack("QQQ", fs, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)[: 8 if abi < 4 else 16 if abi < 6 else 24]
rules = call(444, attr, len(attr), 0)
def allow(path, access):
    try: fd = os.open(path, os.O_PATH)
    except OSError: return
    if not os.path.isdir(path): access &= 1 | 2 | 4 | (1 << 14) | (1 << 15)
    call(445, rules, 1, struct.pack("=Qi", access & fs, fd), 0)
    os.close(fd)
for path in plan["read"]: allow(path, 1 | 4 | 8)
for path in plan["devices"]: allow(path, 2 | 4)
for path in plan["gpu"]: allow(path, 2 | 4 | 8 | 1 << 15)
allow(plan["work"], fs)
libc.prctl(38, 1, 0, 0, 0)
call(446, rules, 0)
code = bytes.fromhex(plan["filter"])
if code:
    buffer = ctypes.create_string_buffer(code, len(code))
    prog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(22, 2, prog, 0, 0): sys.exit("degraded: seccomp refused")
for name in ("SIGPIPE", "SIGXFSZ"): signal.signal(getattr(signal, name), signal.SIG_DFL)  # Python ignores them
os.closerange(3, 256)
os.execvpe(plan["argv"][0], plan["argv"], plan["env"])
"""


def landlock_abi() -> int:
    """Version of Landlock that the kernel offers, 0 for none."""
    found = ctypes.CDLL(None, use_errno=True).syscall(444, 0, 0, 1) if sys.platform == "linux" else -1
    return max(0, found)


def command(
    argv: list[str], env: dict[str, str], folder: Path, roots: tuple[str, ...], filter_bytes: bytes, gpu: bool = False
) -> list[str]:
    """The launcher's command line for a job whose files lie in `folder`/job and whose work folder is `folder`/work.

    `gpu` opens the NVIDIA devices and what their driver reads.
    """
    read = [*READ, *roots, *(GPU_READ if gpu else ()), str(folder / "job")]
    plan = {
        "abi": landlock_abi(), "argv": argv, "env": env, "read": read, "devices": DEVICES,
        "gpu": glob.glob("/dev/nvidia*") if gpu else [], "work": str(folder / "work"), "filter": filter_bytes.hex(),
    }  # fmt: skip
    return [os.path.realpath(sys.executable), "-I", "-S", "-c", LAUNCHER, json.dumps(plan)]
