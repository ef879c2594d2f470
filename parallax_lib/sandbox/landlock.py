"""The sandbox without user namespaces: Landlock, a system-call filter, rlimits and a subreaper (level "degraded").

Knows Linux's own restrictions on a process.  Knows nothing of compilers, programs or verdicts.

A small launcher forks; the child restricts itself and becomes the command.  Files can be read beneath the system's folders
and the job's, written beneath the throw-away work folder only.  There are no sockets (see seccomp) and no signals out of
the tree.  Started by root, the launcher stays root, out of the command's reach, and each run gets a user id of its own,
whose limit of processes counts it alone; without root that limit counts the user's other processes too and leaves room.

Of /proc the command reads what says nothing of others (PROC) and its own folder: ThreadSanitizer and honest programs need
/proc/self.  A child that it forks has another folder and does not see it.  A rule names an inode, so the launcher keeps
the folder open as long as the command lives.

A GPU's driver needs more (the rules of `gpu`): its device nodes for reading, writing and ioctl, /proc and parts of /sys for
reading, memfd, a local socket that listens, and to write /proc/self/task/N/comm, without which cuInit fails with error 304.
compute-sanitizer runs the program as a child of its own, so all of /proc can be written as far as the run's own user id may;
a run that shares the harness's user id can write beneath its own folder of /proc only.

Not kept here: scratch folders with an exact size (the supervisor ends a run that fills them), private process numbers, private
/tmp and /dev/shm (they cannot be written at all), and hiding the host's folder names.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys
from pathlib import Path

from parallax_lib.sandbox import seccomp

READ = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache", "/sys/devices/system/cpu")
PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version", "/proc/sys/vm")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_READ = ("/proc", "/sys/devices", "/sys/bus/pci", "/sys/module")  # /proc of others stays closed: Landlock refuses what ptrace would
LAUNCHER = r"""
import ctypes, json, os, signal, struct, sys, warnings  # the last for execvpe, which may import nothing later
plan = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    r = libc.syscall(*args)
    if r < 0: sys.exit("degraded: system call %d: %s" % (args[0], os.strerror(ctypes.get_errno())))
    return r
libc.prctl(36, 1, 0, 0, 0)  # orphans come back to this process
child = os.fork()
if child:
    own = os.open("/proc/%d" % child, os.O_PATH)
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
if abi < 6: os.setsid()  # nothing else keeps a signal to the group from the launcher
if plan["user"] is not None:
    os.setgroups([]); os.setresgid(*[plan["user"]] * 3); os.setresuid(*[plan["user"]] * 3)
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
for path in plan["read"]: allow(path, 1 | 4 | 8)
for path in plan["devices"]: allow(path, 2 | 4)
for path in plan["gpu"]: allow(path, 2 | 4 | 8 | 1 << 15)
for path in plan["write"]: allow(path, 2 | 1 << 14)  # fopen(..., "w") truncates
allow("/proc/self", 4 | 8)
allow(plan["work"], fs)
libc.prctl(38, 1, 0, 0, 0)
call(446, rules, 0)
code = bytes.fromhex(plan["filter"]).replace(struct.pack("<I", plan["self"]), struct.pack("<I", os.getpid()))
if code:
    buffer = ctypes.create_string_buffer(code, len(code))
    prog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(22, 2, prog, 0, 0): sys.exit("degraded: seccomp refused")
for name in ("SIGPIPE", "SIGXFSZ"): signal.signal(getattr(signal, name), signal.SIG_DFL)  # Python ignores them
os.closerange(3, 65536)
os.execvpe(plan["argv"][0], plan["argv"], plan["env"])
"""


def landlock_abi() -> int:
    """Version of Landlock that the kernel offers, 0 for none."""
    found = ctypes.CDLL(None, use_errno=True).syscall(444, 0, 0, 1) if sys.platform == "linux" else -1
    return max(0, found)


def command(
    argv: list[str], env: dict[str, str], folder: Path, roots: tuple[str, ...], user: int | None = None, gpu: bool = False
) -> list[str]:
    """The launcher's command line for a job whose files lie in `folder`/job and whose work folder is `folder`/work.

    `user`: the user id that the command gets (by a launcher that runs as root), None for the launcher's own.
    `gpu` opens the NVIDIA devices and what their driver reads and writes.
    """
    abi = landlock_abi()
    read = [*READ, *PROC, *roots, *(GPU_READ if gpu else ()), str(folder / "job")]
    names = ["/proc" if user is not None else "/proc/self"] if gpu else []
    code = seccomp.program(hidden_memory=gpu, landlock_abi=abi)
    plan = {
        "abi": abi, "argv": argv, "env": env, "read": read, "devices": DEVICES, "gpu": glob.glob("/dev/nvidia*") if gpu else [],
        "write": names, "work": str(folder / "work"), "filter": code.hex(), "self": seccomp.SELF, "user": user,
    }  # fmt: skip
    return [os.path.realpath(sys.executable), "-I", "-S", "-c", LAUNCHER, json.dumps(plan)]
