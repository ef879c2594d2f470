"""One hostile program per promise of the sandbox, run in the real one: promise, measured, ok.

Knows promises and how a program would break them.  Knows nothing of how the sandbox is made.

A program prints what it managed to break, so silence is good.  A check says at which levels its promise is made: at
the others its measurement is shown as "not promised".
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import process_limits, sandbox, scratch
from parallax_lib.sandbox.sandbox import Level, Limits, Outcome
from parallax_lib.tasks import suites
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import admission, toolchain, validate
from parallax_lib.verdict.harness import PROBES
from parallax_lib.verdict.reference import Bench

LIMITS = Limits(cpu_s=2, wall_s=15, memory_mb=400, output_bytes=100_000, processes=24, tmp_mb=16)
BOTH, FULL = ("bwrap", "degraded"), ("bwrap",)
QUIET = r"^$"
SOURCE = (PROBES / "attacks.c").read_text()
WRITABLE = r"""for d in $(find / -xdev -maxdepth 3 -type d 2>/dev/null | head -2000) /dev /dev/shm /tmp /job /proc /proc/sys "$1"; do
case $d in /work|/dev/shm|/tmp) ;; *) (: > "$d/parallax-was-here") 2>/dev/null && echo "$d";; esac; done; exit 0"""
SIZED = r"""for i in 1 2 3; do head -c 15m /dev/zero > %s/$i; done 2>/dev/null
s=$(du -sm %s | cut -f1); [ "$s" -le 16 ] || echo "$s MiB"; exit 0"""
ENVIRON = r"""{ env; cat /proc/*/environ | tr '\0' '\n'; } 2>/dev/null | grep -vE '^(PATH|HOME|TMPDIR|LANG|PWD|OLDPWD|SHLVL|_)=' ; exit 0"""


@dataclass(frozen=True)
class Check:
    """A promise, the attack on it (a word of SOURCE's, or a shell script), and what its end must look like."""

    promise: str
    attack: str = ""
    shell: str = ""
    status: tuple[str, ...] = ("ok",)
    stdout: str = QUIET
    limits: Limits = LIMITS
    levels: tuple[str, ...] = BOTH
    returncode: int | None = None
    measure: Callable[[Level], tuple[bool, str]] | None = None


@dataclass(frozen=True)
class Row:
    promise: str
    level: str
    measured: str
    ok: bool | None  # None: not promised at this level, or not checkable here


def rows(level: Level, say: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Every check at one level, in the order of CHECKS; `say` is given each row when it is known."""
    program, found = _compiled(level), []
    for check in CHECKS:
        found.append(_row(check, level, program))
        say(found[-1])
    return found


def _row(check: Check, level: Level, program: bytes) -> Row:
    if check.measure and level.name not in check.levels:
        return Row(check.promise, level.name, "not promised", None)
    if check.measure:
        ok, measured = check.measure(level)
    else:
        out = _attack(check, level, program)
        ok = out.status in check.status and re.search(check.stdout, out.stdout) is not None
        ok = ok and (check.returncode is None or out.returncode == check.returncode)
        said = (out.stdout.split("\n")[0] if out.stdout else "silent")[:60]
        measured = f"{out.status}, {said}, {out.cpu_s:.1f} s CPU, {out.wall_s:.1f} s, {out.peak_mb:.0f} MiB"
    if level.name not in check.levels:
        return Row(check.promise, level.name, f"not promised ({measured})", None)
    return Row(check.promise, level.name, measured, ok)


def _attack(check: Check, level: Level, program: bytes) -> Outcome:
    if check.shell:
        return sandbox.run(["/bin/sh", "-c", check.shell, "sh", str(Path.home())], {}, check.limits, level)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind("\0parallax-selfcheck"[:19])
        hidden.listen()
        return sandbox.run(["../job/a", check.attack, str(server.getsockname()[1])], {"a": program}, check.limits, level)


@cache
def _compiled(level: Level) -> bytes:
    command = ["g++", "-x", "c++", "-fpermissive", "-w", "-O1", "../job/a.c", "-o", "a"]
    out = sandbox.run(command, {"a.c": SOURCE.encode()}, Limits(wall_s=60), level, outputs=("a",))
    if out.status != "ok":
        raise UserError(f"the self-check's attacks do not compile at level {level.name}: {out.status} {out.stderr[:200]}")
    return out.files["a"]


def _links(level: Level) -> tuple[bool, str]:
    found = []
    for trick in ("ln -s /usr/bin/env got", "mkfifo got", "mkdir got; echo x > got/got", "ln -s /dev/zero got", "ln -s got got"):
        out = sandbox.run(["/bin/sh", "-c", f"{trick}; echo fine > other"], {}, LIMITS, level, outputs=("got", "other"))
        found += [trick] if out.files != {"other": b"fine\n"} else []
    return not found, "; ".join(found) or "only the regular file came out of 5"


def _huge_source(level: Level) -> tuple[bool, str]:
    kernel = next(k for k in suites.read_folder(suites.MINIBENCH, "minibench") if k.name == "saxpy")
    verdict = validate.judge(kernel.sources["omp"] + "/" * (1 << 20), Task(kernel, "serial", "omp"), toolchain.detect(), level, LIMITS)
    return verdict.reason == "compile_limit", f"{verdict.reason}: {verdict.log[:60]}"


def _no_leftovers(level: Level) -> tuple[bool, str]:
    token = uuid.uuid4().hex
    sandbox.run(["../job/a", "daemon", token], {"a": _compiled(level)}, LIMITS, level)
    return _gone(token), "none left" if _gone(token) else "a daemon is left"


def _chain(level: Level) -> tuple[bool, str]:
    token = uuid.uuid4().hex
    out = sandbox.run(["../job/a", "chain", token], {"a": _compiled(level)}, LIMITS, level)
    return _gone(token), f"{out.status}, {'none left' if _gone(token) else 'it goes on'}"


def _killed_harness(level: Level) -> tuple[bool, str]:
    """kill -9 of the harness at 24 moments of a sandbox's start."""
    marks = []
    for i in range(24):
        mark = f"97.{uuid.uuid4().int % 10**12:012d}"
        child = os.fork()
        if child == 0:
            try:
                sandbox.run(["sleep", mark], {}, Limits(cpu_s=100), level)
            finally:
                os._exit(0)
        time.sleep(0.001 * i)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        marks.append(mark)
    left = [mark for mark in marks if not _gone(mark)]
    return not left, f"{len(left)} of {len(marks)} starts left a process"


def _path_socket(level: Level) -> tuple[bool, str]:
    """Local sockets of the host that lie in a folder that everyone may enter; a GPU's jobs need sockets of their own."""
    program, said = {"a": _compiled(level)}, []
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with scratch.folder() as folder, socket.socket(socket.AF_UNIX, kind) as server:
            server.bind(str(folder / "s"))
            (folder / "s").chmod(0o777)
            if kind != socket.SOCK_DGRAM:
                server.listen()
            said += [sandbox.run(["../job/a", "path_socket", str(folder / "s")], program, LIMITS, level, gpu=gpu) for gpu in (False, True)]
    reached = "".join(out.stdout for out in said).split("\n")[0]
    return not reached and all(out.status == "ok" for out in said), reached or f"{len(said)} programs reached none"


def _harness(level: Level) -> tuple[bool, str]:
    out = sandbox.run(["../job/a", "harness", str(os.getpid())], {"a": _compiled(level)}, LIMITS, level)
    return out.status == "ok" and not out.stdout, out.stdout.replace("\n", ", ") or f"{out.status}, silent"


def _metadata(level: Level) -> tuple[bool, str]:
    """A file of the harness's own user that everyone may write, in such a folder."""
    with scratch.folder() as folder:
        folder.chmod(0o777)
        file = folder / "file"
        file.write_text("kept")
        file.chmod(0o666)
        before = file.stat()
        out = sandbox.run(["../job/a", "metadata", str(file)], {"a": _compiled(level)}, LIMITS, level)
        now = file.stat() if file.exists() else None
        same = now and (now.st_mode, now.st_mtime_ns, now.st_nlink, file.read_text()) == (before.st_mode, before.st_mtime_ns, 1, "kept")
        return bool(same) and not os.listxattr(file), f"{out.status}, {'as it was' if same else 'changed'}"


def _deep(level: Level) -> tuple[bool, str]:
    before = set(scratch.place().glob("parallax-*"))
    out = sandbox.run(["../job/a", "deep"], {"a": _compiled(level)}, LIMITS, level)
    left = [p for p in set(scratch.place().glob("parallax-*")) - before if (p / "work" / "d").exists()]
    return out.status == "ok" and not left, f"{out.status}, {'nothing' if not left else left[0]} is left"


def _gone(token: str, seconds: float = 6.0) -> bool:
    """No live process has `token` in its command line."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_says(process / "cmdline", token) for process in process_limits.processes()):
            return True
        time.sleep(0.05)
    return False


def _says(path: Path, token: str) -> bool:
    try:
        return int(path.parent.name) != os.getpid() and token.encode() in path.read_bytes()
    except OSError:
        return False


def _right(level: Level) -> tuple[bool, str]:
    """Programs that must be judged right, and wrong ones that must not: every part of the admission that this machine has."""
    rows = admission.table(Bench(toolchain.detect(), level, Limits(memory_mb=1024), races="auto"), validate.judged)
    bad = [f"{row.part}: {row.why}" for row in rows if row.state not in ("ok", "absent")]
    return not bad, "; ".join(bad)[:300] or ", ".join(row.part for row in rows if row.state == "ok")


def _gpu(level: Level) -> tuple[bool | None, str]:
    if not toolchain.gpu_name():
        return None, "no GPU here: not checked"
    script = "ls /dev/nvidia0 >/dev/null && grep -c : /proc/net/dev"
    outs = [sandbox.run(["/bin/sh", "-c", script], {}, LIMITS, level, gpu=gpu) for gpu in (True, False)]
    ok = outs[0].status == "ok" and outs[0].stdout.strip() == "1" and outs[1].status != "ok"
    return ok, f"with gpu: {outs[0].status}; without: {outs[1].status}"


CHECKS = (
    Check("no network: TCP, UDP, abstract sockets", "network"),
    Check("no writable host path", shell=WRITABLE),
    Check("files of the host are invisible", shell='cat /etc/passwd /etc/shadow "$1"/.[a-z]* 2>/dev/null; exit 0'),
    Check("the host's environment is invisible", shell=ENVIRON),
    Check("/proc/1/environ is empty or unreadable", shell="cat /proc/1/environ 2>/dev/null | tr '\\0' '\\n'; exit 0"),
    Check("own process numbers", shell='n=$(ls -d /proc/[0-9]* | wc -l); [ "$n" -gt 0 -a "$n" -le 8 ] || echo "$n"; exit 0', levels=FULL),
    Check("a fork bomb ends", "fork_bomb", status=("timeout", "crash", "memory_limit", "process_limit")),
    Check("a chain of children, each ending as it forks, ends", measure=_chain),
    Check("memory of six children counts together", "children", status=("memory_limit",)),
    Check("shared anonymous memory counts", "shared_memory", status=("memory_limit",)),
    Check("local sockets of the host are out of reach", measure=_path_socket),
    Check("no signal, limit or priority reaches the harness", measure=_harness),
    Check("modes, times and names of the host's files stay", measure=_metadata),
    Check("folders 3,000 deep are removed", measure=_deep),
    Check("600 MiB in small files end or find no room", "fill", status=("output_limit", "crash")),
    Check("the work folder is sized", shell=SIZED % (".", "."), levels=FULL),
    Check("/tmp is sized or closed", shell=SIZED % ("/tmp", "/tmp"), levels=FULL),
    Check("/dev/shm is sized or closed", shell=SIZED % ("/dev/shm", "/dev/shm"), levels=FULL),
    Check("a huge file is an output limit", "big_file", status=("output_limit",)),
    Check("output is cut", "flood", status=("output_limit",), stdout="^flooding"),
    Check("CPU time ends a loop that ignores signals", "spin", status=("timeout",)),
    Check("wall time ends a sleep", "sleep", status=("timeout",), limits=replace(LIMITS, wall_s=0.5)),
    Check("a grandchild that holds the pipe is not waited for", "grandchild", stdout="^done"),
    Check("keyrings are refused", "keyctl"),
    Check("io_uring is refused", "io_uring"),
    Check("AF_VSOCK and AF_ALG are refused", "vsock"),
    Check("ptrace is refused", "ptrace"),
    Check("hidden memory (memfd) is refused", "memfd"),
    Check("mounts and shared memory, queues and semaphores of System V are refused", "mount"),
    Check("no nested user namespaces", "userns"),
    Check("no way back to root", "root"),
    Check("killing everyone reaches nobody outside", "kill_all", status=("ok", "crash")),
    Check("endless recursion ends at the stack limit", "stack", status=("crash",), returncode=128 + signal.SIGSEGV),
    Check("signals come back as 128 + n", "abort", status=("crash",), returncode=128 + signal.SIGABRT),
    Check("control bytes are dropped", shell=r"printf 'a\033[31m\000b\n'", stdout=r"^a\[31mb\n$"),
    Check("links, pipes and folders do not come out", measure=_links),
    Check("sources over 1 MiB are refused", measure=_huge_source),
    Check("no process is left behind", measure=_no_leftovers),
    Check("kill -9 of the harness leaves nothing", measure=_killed_harness, levels=FULL),
    Check("right programs are judged right, wrong ones wrong", measure=_right),
    Check("GPU jobs see the device and nothing else more", measure=_gpu, levels=FULL),
)  # fmt: skip


def table(levels: list[Level], say: Callable[[str], None] = lambda line: None) -> tuple[str, bool]:
    """(the table as text, whether every promise that is made holds); `say` is given each line when it is known."""
    words, width = {True: "ok", False: "BROKEN", None: "-"}, max(len(check.promise) for check in CHECKS)

    def line(row: Row) -> str:
        return f"{row.level:9} {row.promise:{width}}  {words[row.ok]:7} {row.measured}"

    found = [row for level in levels for row in rows(level, lambda row: say(line(row)))]
    return "\n".join(map(line, found)), all(row.ok is not False for row in found)


def levels() -> list[Level]:
    """The level that judging uses here and, beside bubblewrap, the degraded one where the kernel offers it."""
    best = sandbox.probe()
    lesser = Level("degraded", user=best.user)
    return [best] + ([lesser] if best.name == "bwrap" and not sandbox.broken_promise(lesser) else [])
