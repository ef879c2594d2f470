"""Watch one running process tree: bounded output, CPU time, memory of the whole tree, wall time; then end all of it.

Knows processes, pipes and limits.  Knows nothing of namespaces, compilers or verdicts.

CPU time decides; wall time is a backstop.  Memory is the resident size summed over the tree every 50 ms, because
RLIMIT_AS counts each process by itself.  The end of the pipes is never waited for: a grandchild can hold them open.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from parallax_lib.sandbox import thread_times
from parallax_lib.sandbox.thread_times import Threads

POLL_S = 0.05
FAREWELL_S = 0.001  # between looks at a process that has said its last line and is about to stop
GONE_S = 5.0
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Limits:
    """What one command may use, its whole tree together.  tmp_mb bounds each scratch folder and each file."""

    cpu_s: float = 10.0
    wall_s: float = 0.0  # 0: ten times cpu_s
    memory_mb: int = 2048
    output_bytes: int = 1 << 20
    processes: int = 320  # and threads: programs ask for up to 256
    tmp_mb: int = 64
    stack_mb: int = 64


@dataclass(frozen=True)
class End:
    """How it ended and what it used; stdout and stderr are raw, at most as long as their caps.  `most`: threads seen at once.

    threads, said_s: of a process that stopped itself after its `farewell`, else None and 0; said_s is the wall time from its first
    byte on stdout to that line.
    """

    status: str
    returncode: int
    stdout: bytes
    stderr: bytes
    cpu_s: float
    wall_s: float
    peak_mb: float
    most: int = 0
    threads: Threads | None = None
    said_s: float = 0.0


@dataclass
class Farewell:
    """The last line that a process says on stdout before it stops itself to be looked at; b"" for one that does not."""

    line: bytes = b""
    began: float = 0.0
    said: float = 0.0
    threads: Threads | None = None

    def hear(self, out: bytearray) -> None:
        """Note when the first byte and the line came."""
        if self.line and out and not self.began:
            self.began = time.monotonic()
        if self.line and not self.said and out.endswith(self.line):
            self.said = time.monotonic()

    @property
    def awaited(self) -> bool:
        """The line was said and the process has not been seen stopped yet."""
        return bool(self.said) and self.threads is None

    def look(self, pids: list[int]) -> None:
        """Read the threads of the process that has stopped, and let it go on to its end."""
        pid = thread_times.stopped(pids)
        if pid is not None:
            self.threads = thread_times.read(pid)
            _signal(os.kill, pid, signal.SIGCONT)


@dataclass
class Tree:
    """A root process and everything seen beneath it, kept by (pid, start time) so that orphans stay known."""

    root: int
    started: dict[int, str]
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    threads: int = 0

    def look(self) -> list[int]:
        """Live pids; updates cpu_s, peak_mb and threads."""
        queue, found, cpu, rss, threads = [self.root, *self.started], [], 0.0, 0, 0
        done: set[int] = set()
        while queue:
            pid = queue.pop()
            if pid in done:
                continue
            done.add(pid)
            stat = _stat(pid)
            if stat is None or self.started.setdefault(pid, stat[2]) != stat[2]:
                self.started.pop(pid, None)
                continue
            found.append(pid)
            cpu, rss, threads = cpu + stat[0], rss + stat[1], threads + stat[3]
            queue += _children(pid)
        self.cpu_s, self.peak_mb, self.threads = max(self.cpu_s, cpu), max(self.peak_mb, rss * PAGE / 2**20), max(self.threads, threads)
        return found


def watch(
    process,
    limits: Limits,
    caps: tuple[int, int],
    report: int | None = None,
    reaps: bool = False,
    full: Callable[[], bool] | None = None,
    farewell: bytes = b"",
) -> End:
    """Watch a subprocess.Popen (own session, stdout and stderr piped) to its end and leave nothing of it running.

    `caps` bound stdout and stderr in bytes.  `report` is the read end of bubblewrap's --json-status-fd: without an exit
    code there the command never started, and the end is infra_error.  `reaps`: the process ends by itself once everything
    beneath it has, and has reaped that: where nobody else does, the dead would go on counting against their user's limit.
    `full` says whether its scratch folder is over its size, where nothing else bounds that.
    `farewell`: the last line of a command that then stops itself.
    """
    start, tree, leaving = time.monotonic(), Tree(process.pid, {}), Farewell(farewell)
    pipes = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    room = dict(zip(pipes, caps, strict=True))
    try:
        why = _follow(process, tree, limits, start, pipes, room, full or (lambda: False), leaving)
    finally:
        ending = _finish(process, tree, report, reaps)
    for fd in pipes:
        _read(fd, pipes[fd], room[fd])
    cpu, code = max(tree.cpu_s, ending["cpu_s"]), ending["returncode"]
    over = any(len(pipes[fd]) > room[fd] for fd in pipes)
    status = why or _status(code, cpu, limits, over, tree, report is not None and "exit-code" not in ending)
    out, err = (bytes(pipes[fd][: room[fd]]) for fd in pipes)
    said_s = max(0.0, leaving.said - leaving.began)
    return End(status, code, out, err, cpu, time.monotonic() - start, tree.peak_mb, tree.threads, leaving.threads, said_s)


def _follow(
    process, tree: Tree, limits: Limits, start: float, pipes: dict, room: dict, full: Callable[[], bool], leaving: Farewell
) -> str:
    """Read until the process ends or breaks a limit; the limit's status, "" when it ended by itself."""
    poller, looked, gap = select.poll(), start, POLL_S / 8
    for fd in pipes:
        os.set_blocking(fd, False)
        poller.register(fd, select.POLLIN)
    open_fds, wall = set(pipes), limits.wall_s or 10 * limits.cpu_s
    out = pipes[process.stdout.fileno()]
    while True:
        gap = FAREWELL_S if leaving.awaited else gap
        for fd, _ in poller.poll(gap * 1000 if open_fds else 2):
            if not _read(fd, pipes[fd], room[fd]):
                poller.unregister(fd)
                open_fds.discard(fd)
        leaving.hear(out)
        if any(len(pipes[fd]) > room[fd] for fd in pipes) or (time.monotonic() - looked >= gap and full()):
            return "output_limit"
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return ""
        now = time.monotonic()
        if now - looked >= gap:
            found = tree.look()
            looked, gap = now, min(POLL_S, 2 * gap)
            if leaving.awaited:
                leaving.look(found)
            broken = _broken(tree, limits, len(found)) or ("timeout" if now - start > wall else "")
            if broken:
                return broken


def _broken(tree: Tree, limits: Limits, crowd: int) -> str:
    if tree.cpu_s > limits.cpu_s:
        return "timeout"
    if tree.peak_mb > limits.memory_mb:
        return "memory_limit"
    return "process_limit" if crowd > 2 * limits.processes else ""  # only where RLIMIT_NPROC counts others too


def _status(code: int, cpu: float, limits: Limits, over: bool, tree: Tree, unborn: bool) -> str:
    if over or code in (128 + signal.SIGXFSZ, -signal.SIGXFSZ):
        return "output_limit"
    if cpu > limits.cpu_s or code in (128 + signal.SIGXCPU, -signal.SIGXCPU):
        return "timeout"
    if tree.peak_mb > limits.memory_mb:
        return "memory_limit"
    if unborn:
        return "infra_error"
    return "ok" if code == 0 else "crash"


def _finish(process, tree: Tree, report: int | None, reaps: bool) -> dict:
    """Kill whatever is left, reap the root, wait for the sandbox's first process to be gone; what was reported."""
    _stop(tree)
    spared = {process.pid} if reaps else set()
    for _ in range(200):
        alive = {pid for pid in tree.look() if not _is_dead(pid)} - spared
        for pid in alive:
            _signal(os.kill, pid, signal.SIGKILL)
        if not alive:
            break
        time.sleep(0.002)
    if reaps:
        _signal(os.kill, process.pid, signal.SIGCONT)
        _await_gone(process.pid)
    _signal(os.killpg, process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ending = {"returncode": process.returncode, "cpu_s": usage.ru_utime + usage.ru_stime}
    if report is not None:
        for line in os.read(report, 4096).decode().splitlines() if select.select([report], [], [], 0)[0] else []:
            ending |= json.loads(line)
        _await_gone(ending.get("child-pid"))
    return ending


def _stop(tree: Tree) -> None:
    """Stop all of the tree: it could fork faster than it is killed, one process after another."""
    deadline, stopped = time.monotonic() + GONE_S, set()
    while time.monotonic() < deadline:
        running = {pid for pid in tree.look() if not _is_dead(pid)} - stopped
        if not running:
            return
        for pid in running:
            _signal(os.kill, pid, signal.SIGSTOP)
        stopped |= running


def _signal(how, pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        how(pid, number)


def _await_gone(pid: int | None) -> None:
    """The first process of the sandbox's pid namespace, or the one that reaps: once it is gone, so is everything beneath."""
    deadline = time.monotonic() + GONE_S
    while pid and not _is_dead(pid) and time.monotonic() < deadline:
        time.sleep(0.001)


def _read(fd: int, into: bytearray, cap: int) -> bool:
    """Append what is there, at most one chunk over the cap; False at the end of the file."""
    while len(into) <= cap:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        into += data
    return True


def _stat(pid: int) -> tuple[float, int, str, int] | None:
    """(CPU seconds with reaped children, resident pages, start time, threads) of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            parts = f.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return sum(map(int, parts[11:15])) / TICKS, int(parts[21]), parts[19].decode(), int(parts[17])


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as f:
                found += map(int, f.read().split())
    return found
