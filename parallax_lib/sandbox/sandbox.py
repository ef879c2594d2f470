"""One command under limits, cut off from the machine: bubblewrap namespaces, or bare on explicit demand (`unsafe`).

Knows levels, limits and how a run ended.  Knows nothing of mounts (`launch`), compilers, programs or verdicts.

Nothing that the command writes lands on the host: the job's files are copied into a read-only /job; the working folder
/work, /tmp and /dev/shm are sized tmpfs; results come out only through bounded pipes.  Files named in `outputs` leave
as a tar stream on stdout after the command succeeded, and only regular files with those names are read from it.
Commands name job files as ../job/NAME, which holds at every level.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from parallax_lib.core import hardware
from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import landlock, launch, machine_limits, process_limits, scratch, supervisor
from parallax_lib.sandbox.launch import BASE_ENV, STDIN_BYTES, Job, Level
from parallax_lib.sandbox.supervisor import Limits
from parallax_lib.sandbox.thread_times import Threads

JOB = "../job"
NOBODY = 65533  # RLIMIT_NPROC does not bind root: root hands its runs to this otherwise unused user id, at level degraded to one each
NAMESPACES = tuple(
    "--unshare-user --unshare-all --die-with-parent --new-session --cap-drop ALL --hostname sandbox".split()
)
STDERR_BYTES = 1 << 20
HOW = "install bubblewrap (sudo apt-get install -y bubblewrap) or set validation.unsafe: true to run without protection"
REFUSED = re.compile(  # no more processes, as libraries and shells say it
    r"Resource temporarily unavailable|cannot fork|unable to allocate necessary resources for OMP thread", re.I
)
BROKEN = ("crash", "process_limit")  # ends that limits of the machine's can bring about too
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
PROMISES = r"""
[ "$(grep -c : /proc/net/dev)" = 1 ] || echo "the network is reachable"
for path in /home /root /etc/passwd "$1"; do [ -e "$path" ] && echo "$path of the host is visible"; done
for path in / /usr /job /dev /etc /proc/sys; do (: > $path/parallax) 2>/dev/null && echo "$path is writable"; done
[ "$(wc -c < /proc/1/environ)" = 0 ] || echo "the caller's environment is visible"
command -v tar > /dev/null || echo "tar is missing"
(: > /work/x && : > /tmp/x && : > /dev/shm/x) 2>/dev/null || echo "no scratch folder"
exit 0
"""
LESSER = r"""
for path in /etc/passwd /proc/1/environ "$1"; do cat "$path" > /dev/null 2>&1 && echo "$path of the host can be read"; done
for path in / /usr ../job /tmp /dev/shm /etc; do (: > $path/parallax) 2>/dev/null && echo "$path is writable"; done
(: > x) 2>/dev/null || echo "no scratch folder"
exit 0
"""
LIMIT_CHECKS = (  # script, limits, the status that proves the limit
    ("while :; do :; done", {"cpu_s": 0.1}, "timeout"),
    ("head -c 300m /dev/zero | tail -c 300m > /dev/null", {"memory_mb": 64}, "memory_limit"),
    ("yes", {"output_bytes": 1000}, "output_limit"),
    ("for i in 1 2 3 4 5 6 7 8 9; do sleep 3 & done", {"processes": 6}, "process_limit"),
)


@dataclass(frozen=True)
class Outcome:
    """How one command ended: ok, crash, timeout, memory_limit, process_limit, output_limit, or infra_error (our failure, not its).

    cpu_s is polled (every 50 ms), so that short runs show less than they used.  threads, said_s: as supervisor.End has them.
    """

    status: str
    returncode: int
    stdout: str
    stderr: str
    cpu_s: float
    wall_s: float
    peak_mb: float
    files: dict[str, bytes] = field(default_factory=dict)
    threads: Threads | None = None
    said_s: float = 0.0
    printed: str = ""  # stdout with every byte in it: for what reads it, not for logs


def run(
    argv: Sequence[str],
    files: dict[str, bytes],
    limits: Limits,
    level: Level,
    *,
    env: dict[str, str] | None = None,
    outputs: tuple[str, ...] = (),
    stdin: bytes = b"",
    roots: tuple[str, ...] = (),
    gpu: bool = False,
    farewell: bytes = b"",
) -> Outcome:
    """Run `argv` in an empty writable folder beside the read-only ../job holding `files`.

    stdin (<= 4 KiB) is all that it can read there.  `roots` are host folders shown read-only, `gpu` shows the NVIDIA
    devices and names one of them, in turn.  `farewell`: the last line of a command that then stops itself, to be looked at.
    Raises nothing for what the command does; failures on our side come back as status infra_error.
    """
    assert len(stdin) <= STDIN_BYTES, len(stdin)
    environment = {**BASE_ENV, **(hardware.next_gpu() if gpu else {}), **(env or {})}
    job = Job(_with_outputs(argv, outputs), files, limits, environment, stdin, roots, gpu, outputs, farewell)
    out = _run(job, level)
    if out.status not in BROKEN or not process_limits.tight(level.user, limits.processes) or _run(job, level).status in BROKEN:
        return out
    why = f"ended with {out.returncode}, and not when run again under a process limit (ulimit -u) that others share\n"
    return replace(out, status="infra_error", stderr=why + out.stderr)


def _run(job: Job, level: Level) -> Outcome:
    limits, outputs = job.limits, job.outputs
    cap = limits.tmp_mb << 20 if outputs else limits.output_bytes
    before, room = machine_limits.strikes(), machine_limits.room_mb()
    with ExitStack() as stack:
        try:
            process, report, full = launch.start(stack, job, level)
        except OSError as e:
            return Outcome("infra_error", -1, "", f"cannot start: {e}", 0.0, 0.0, 0.0)
        stack.enter_context(process.stdout)
        stack.enter_context(process.stderr)
        end = supervisor.watch(process, limits, (cap, STDERR_BYTES), report, level.name == "degraded", full, job.farewell)
        if end.status == "crash":
            end = _blamed(end, job, level, before, room)
        return _outcome(end, outputs)


def _blamed(end: supervisor.End, job: Job, level: Level, before: tuple[int, int], room: int | None) -> supervisor.End:
    """The end of a run that went badly, by the limit that brought it about: the run's own, or one of the machine's."""
    promised = job.limits.processes
    if why := process_limits.shortage(level.user, promised):
        return replace(end, status="infra_error", stderr=f"{why}\n".encode() + end.stderr)
    if why := machine_limits.struck(before, end.returncode):
        own = "memory" in why and room is not None and room >= job.limits.memory_mb
        return replace(end, status="memory_limit" if own else "infra_error", stderr=f"{why}\n".encode() + end.stderr)
    if end.most > promised or REFUSED.search(end.stderr.decode(errors="replace")):
        return replace(end, status="process_limit", stderr=f"process limit of {promised}\n".encode() + end.stderr)
    return end


def _every_byte(data: bytes) -> str:
    """Text in which a control byte stays and an undecodable one is spelt out."""
    return data.decode("utf-8", errors="backslashreplace")


def clean(data: bytes) -> str:
    """Text of untrusted bytes: undecodable bytes replaced, control bytes other than newline and tab dropped."""
    return CONTROL.sub("", data.decode("utf-8", errors="replace"))


@functools.cache
def probe(unsafe: bool = False) -> Level:
    """The level this machine offers, proven by running the promises once per process (about 0.5 s).

    bubblewrap first, then "degraded" (Landlock).  Raises UserError when neither holds and `unsafe` is not asked for.
    """
    if unsafe:
        return Level("unsafe")
    bwrap = shutil.which("bwrap")
    broken = "" if bwrap else "bubblewrap (bwrap) not found"
    users = (NOBODY, None) if os.geteuid() == 0 else (None,)
    for user in users if bwrap else ():
        for options in ((*NAMESPACES, "--disable-userns"), NAMESPACES):
            level = Level("bwrap", bwrap, user, options)
            broken = broken_promise(level)
            if not broken:
                return level
    lesser = Level("degraded", user=users[0])
    without = broken_promise(lesser) if landlock.landlock_abi() else "the kernel has no Landlock"
    if not without:
        return lesser
    if short := machine_limits.shortages(Limits()):
        raise UserError(f"no sandbox: {short[0]}")
    if few := process_limits.shortage(lesser.user, Limits().processes):
        raise UserError(f"no sandbox: {few}; raise it: ulimit -u unlimited")
    raise UserError(f"no sandbox: {broken}; without namespaces: {without}; allow user namespaces, {HOW}")


def broken_promise(level: Level) -> str:
    """The first thing the sandbox promises and does not keep here, "" when it keeps all."""
    with scratch.host_file() as host:
        outcome = run(["/bin/sh", "-c", PROMISES if level.name == "bwrap" else LESSER, "sh", host], {}, Limits(), level)
    if outcome.status != "ok" or outcome.stdout:
        return (outcome.stdout or outcome.stderr or f"it ends with {outcome.returncode}").splitlines()[0]
    for script, change, expected in LIMIT_CHECKS if level.name == "bwrap" or level.user is not None else LIMIT_CHECKS[:3]:
        got = run(["/bin/sh", "-c", script], {}, replace(Limits(wall_s=20), **change), level).status
        if got != expected:
            return f"limit {next(iter(change))} does not bind: {got}"
    return ""


def _with_outputs(argv, outputs: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` with its stdout sent to stderr and, after success, a tar of `outputs` on stdout."""
    if not outputs:
        return tuple(argv)
    names = " ".join(shlex.quote(name) for name in outputs)
    return ("/bin/sh", "-c", f'"$@" >&2 || exit $?; exec tar --no-recursion -cf - -- {names}', "sh", *argv)


def _outcome(end: supervisor.End, outputs: tuple[str, ...]) -> Outcome:
    used = (round(end.cpu_s, 3), round(end.wall_s, 3), round(end.peak_mb, 1))
    if not outputs:
        said = {"threads": end.threads, "said_s": end.said_s, "printed": _every_byte(end.stdout)}
        return Outcome(end.status, end.returncode, clean(end.stdout), clean(end.stderr), *used, **said)
    try:
        files = _unpack(end.stdout, outputs) if end.status == "ok" else {}
    except tarfile.TarError as e:
        return Outcome("infra_error", end.returncode, "", f"outputs unreadable: {e}", *used)
    return Outcome(end.status, end.returncode, "", clean(end.stderr), *used, files)


def _unpack(data: bytes, names: tuple[str, ...]) -> dict[str, bytes]:
    """Regular files called `names` of a tar stream; links, pipes, folders and sparse files are left out."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.name in names and member.isreg() and not member.issparse() and member.size <= len(data):
                found[member.name] = tar.extractfile(member).read()
    return found
