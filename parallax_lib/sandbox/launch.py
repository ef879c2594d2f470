"""Starts one untrusted command: in bubblewrap's namespaces, or in a throw-away folder behind Landlock or behind nothing.

Knows mounts, descriptors and the kernel's own limits.  Knows nothing of how a run ends and whether a level holds.
"""

from __future__ import annotations

import glob
import os
import resource
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from parallax_lib.sandbox import landlock, machine_limits, process_limits, reaper, scratch, seccomp
from parallax_lib.sandbox.supervisor import Limits

BASE_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/work", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
SHOWN = "inputs/"  # of the files: what lies there is linked into the working folder
STDIN_BYTES = 4096


@dataclass(frozen=True)
class Level:
    """How well a program is shut in: "bwrap", "degraded" (see there), or "unsafe": limits, and a quick daemon slips them."""

    name: str
    bwrap: str = ""
    user: int | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    argv: tuple[str, ...]
    files: dict[str, bytes]
    limits: Limits
    env: dict[str, str]
    stdin: bytes = b""
    roots: tuple[str, ...] = ()
    gpu: bool = False
    outputs: tuple[str, ...] = ()
    farewell: bytes = b""


def start(stack: ExitStack, job: Job, level: Level) -> tuple[subprocess.Popen, int | None, Callable[[], bool] | None]:
    """(running process, descriptor of bubblewrap's status or None, whether its folder is too full or None); OSError where none starts."""
    return _start_bwrap(stack, job, level) if level.name == "bwrap" else _start_bare(stack, job, level)


def _limited(job: Job, processes: int | None) -> list[str]:
    """The command behind prlimit: the kernel's own limits, beside those `supervise` keeps for the whole tree.

    processes: most processes and threads of the user that it runs as; None: as many as the harness may have.
    """
    limits, cpu = job.limits, machine_limits.at_most(resource.RLIMIT_CPU, int(job.limits.cpu_s) + 1)
    options = [f"--cpu={cpu}:{machine_limits.at_most(resource.RLIMIT_CPU, cpu + 1)}", "--core=0"]
    options += [f"--fsize={machine_limits.at_most(resource.RLIMIT_FSIZE, limits.tmp_mb << 20)}", *machine_limits.lifted()]
    options += [f"--stack={machine_limits.at_most(resource.RLIMIT_STACK, limits.stack_mb << 20)}"]
    if processes is not None:
        options.append(f"--nproc={processes}")
    return ["prlimit", *options, "--", *job.argv]


def _start_bwrap(stack: ExitStack, job: Job, level: Level) -> tuple[subprocess.Popen, int, None]:
    """The running bubblewrap, itself with an empty environment (/proc/1/environ shows it), and its status pipe."""
    report, report_in = os.pipe()
    stack.callback(os.close, report)
    passed: list[int] = []
    with ExitStack() as ours:  # descriptors that only the child needs
        ours.callback(os.close, report_in)
        command = [level.bwrap, *level.options, "--dir", f"/run/{reaper.token()}", *_mounts(job)]
        for name, data in job.files.items():
            command += ["--perms", "0555", "--file", _memory(ours, passed, data), f"/job/{name}"]
        filter_bytes = seccomp.program(hidden_memory=job.gpu)
        if filter_bytes:
            command += ["--seccomp", _memory(ours, passed, filter_bytes)]
        for key, value in job.env.items():
            command += ["--setenv", key, value]
        for name in _shown(job):
            command += ["--dir", os.path.dirname(f"/work/{name}"), "--symlink", f"/job/{SHOWN}{name}", f"/work/{name}"]
        command += ["--remount-ro", "/", "--chdir", "/work", "--json-status-fd", str(report_in)]
        command += ["--", *_limited(job, process_limits.ceiling(job.limits.processes))]
        return _popen(command, job, {}, "/", (*passed, report_in), level.user), report, None


def _start_bare(stack: ExitStack, job: Job, level: Level) -> tuple[subprocess.Popen, None, Callable[[], bool]]:
    """The command in a throw-away folder: limits, and no isolation but Landlock's at level "degraded"."""
    folder = stack.enter_context(scratch.folder(others=level.user is not None))
    for name in ("job", "work"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    for name, data in job.files.items():
        path = folder / "job" / name
        for missing in [p for p in reversed(path.parents) if not p.exists()]:
            missing.mkdir()
            missing.chmod(0o755)
        path.write_bytes(data)
        path.chmod(0o555)
    for name in _shown(job):
        link = folder / "work" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder / "job" / SHOWN / name)
    work = str(folder / "work")
    full = scratch.filling(folder / "work", scratch.FOLDERS * job.limits.tmp_mb << 20)
    env = {**job.env, "HOME": work, "TMPDIR": work} if level.name == "degraded" else {**job.env, "HOME": work}
    if level.name == "unsafe":
        return _popen(_limited(job, None), job, env, work, (), None), None, full
    if level.user is None:
        user, most = None, process_limits.beside(job.limits.processes)
    else:
        user, most = stack.enter_context(process_limits.own_user()), job.limits.processes
        os.chown(work, user, user)
    command = landlock.command(_limited(job, most), env, folder, job.roots, user, job.gpu)
    return _popen(command, job, {"PATH": BASE_ENV["PATH"]}, work, (), None), None, full


def _shown(job: Job) -> list[str]:
    """Input files, which a program finds in its working folder too, by the names that it was written with."""
    return [name.removeprefix(SHOWN) for name in job.files if name.startswith(SHOWN)]


def _popen(
    command: list[str], job: Job, env: dict[str, str], cwd: str, fds: tuple[int, ...], user: int | None
) -> subprocess.Popen:
    out, into = os.pipe()
    try:
        os.write(into, job.stdin)
        os.close(into)
        if user is not None:  # Popen's own user= would copy this process's page tables: tens of ms beside a large model
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--", *command]
        pipes = {"stdin": out, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pass_fds": fds}
        return subprocess.Popen(command, env=env, cwd=cwd, start_new_session=True, **pipes)
    finally:
        os.close(out)


def _memory(stack: ExitStack, passed: list[int], data: bytes) -> str:
    """A file in memory holding `data`, to be inherited; its number."""
    fd = os.memfd_create("job")
    stack.callback(os.close, fd)
    passed.append(fd)
    with os.fdopen(os.dup(fd), "wb") as f:
        f.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return str(fd)


def _mounts(job: Job) -> list[str]:
    """Read-only /usr, libraries and `roots`; sized scratch; NVIDIA devices for a GPU job.  No writable host path."""
    size = ["--size", str(job.limits.tmp_mb << 20), "--tmpfs"]
    mounts = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            mounts += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            mounts += ["--ro-bind", str(path), str(path)]
    for path in ("/etc/alternatives", "/etc/ld.so.cache"):
        mounts += ["--ro-bind-try", path, path]
    if job.gpu:
        for path in glob.glob("/dev/nvidia*"):
            mounts += ["--dev-bind", path, path]
        for path in ("/sys/devices", "/sys/bus/pci", "/sys/module"):
            mounts += ["--ro-bind-try", path, path]
    mounts += [*size, "/dev/shm", "--remount-ro", "/dev", *size, "/tmp", *size, "/work", "--dir", "/job"]
    for path in job.roots:  # last: they may lie beneath one of these folders
        link = os.path.islink(path)
        mounts += ["--dir", os.path.dirname(path), "--symlink", os.readlink(path), path] if link else ["--ro-bind-try", path, path]
    return mounts
