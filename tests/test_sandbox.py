"""The sandbox beyond `selfcheck`, whose hostile program for each promise test_sandbox_check.py runs: levels, limits, ends, failures."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import landlock, process_limits, sandbox, seccomp
from parallax_lib.sandbox.sandbox import Level, Limits

BARE = ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"]
NAMESPACES = shutil.which("bwrap") is not None and subprocess.run(BARE, capture_output=True).returncode == 0
pytestmark = pytest.mark.skipif(not NAMESPACES, reason="no bubblewrap, or user namespaces are off")
SMALL = Limits(cpu_s=3, wall_s=20, memory_mb=400, output_bytes=100_000, processes=24, tmp_mb=16)
LEVELS = ("bwrap", "unsafe")
INCLUDES = "".join(
    f"#include <{h}>\n"
    for h in "stdio.h stdlib.h string.h unistd.h errno.h fcntl.h signal.h dirent.h sched.h pthread.h sys/types.h "
    "sys/stat.h sys/wait.h sys/socket.h sys/un.h sys/mman.h sys/shm.h sys/ptrace.h sys/syscall.h netinet/in.h "
    "arpa/inet.h".split()
)


def level(name="bwrap"):
    return sandbox.probe(unsafe=name == "unsafe")


def compiled(body, helpers=""):
    source = f"#define _GNU_SOURCE\n{INCLUDES}{helpers}\nint main(int argc, char **argv) {{ {body} return 0; }}\n"
    out = sandbox.run(
        ["gcc", "-O1", "-w", "../job/a.c", "-o", "a", "-pthread"],
        {"a.c": source.encode()},
        Limits(wall_s=60),
        level(),
        outputs=("a",),
    )
    assert out.status == "ok", out.stderr
    return out.files["a"]


def attack(body, *args, limits=SMALL, name="bwrap", helpers="", **more):
    return sandbox.run(["../job/a", *args], {"a": compiled(body, helpers)}, limits, level(name), **more)


def shell(script, limits=SMALL, name="bwrap", **more):
    return sandbox.run(["/bin/sh", "-c", script, "sh"], {}, limits, level(name), **more)


def running(token):
    """Pids of live processes whose command line holds `token`."""
    found = []
    for process in process_limits.processes():
        try:
            if token.encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                found.append(int(process.name))
        except OSError:
            pass
    return found


def asleep(mark):
    return [p for p in running(mark) if Path(f"/proc/{p}/comm").read_text() == "sleep\n"]


def gone(token, seconds=5.0):
    deadline = time.monotonic() + seconds
    while running(token) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(token)


# ---- what is visible -------------------------------------------------------------------------------------------------


def test_no_host_path_is_writable(tmp_path):
    script = f"""
    more="/dev /dev/shm /tmp /work /job /proc /proc/sys"
    for d in $(find / {tmp_path} -xdev -type d 2>/dev/null | head -3000) $more; do
      (: > $d/parallax-was-here) 2>/dev/null && echo "$d"
    done; exit 0"""
    out = shell(script)
    assert out.status == "ok", out.stderr
    assert set(out.stdout.split()) == {"/dev/shm", "/tmp", "/work"}
    assert not list(tmp_path.iterdir())
    for folder in ("/tmp", "/usr", "/dev/shm", "/"):
        assert not Path(folder, "parallax-was-here").exists()


def test_scratch_does_not_survive_into_the_next_run():
    assert shell("echo secret > /tmp/x; echo secret > /dev/shm/x; echo secret > x").status == "ok"
    assert shell("cat /tmp/x /dev/shm/x x; ls -A /work /tmp /dev/shm").stdout.count("secret") == 0


def test_host_files_are_invisible(tmp_path):
    (tmp_path / "canary").write_text("CANARY")
    home, shadow = str(Path.home()), "/etc/shadow"
    out = shell(
        f"cat {tmp_path}/canary {shadow} /etc/passwd; ls -A {home} /home /root /etc /var /mnt /opt {Path.cwd()}"
    )
    assert "CANARY" not in out.stdout and "root:" not in out.stdout
    assert set(re.findall(r"^\S+$", out.stdout, re.M)) <= {"alternatives", "ld.so.cache", "/etc:"}


def test_environment_does_not_leak(monkeypatch):
    monkeypatch.setenv("PARALLAX_SECRET", "s3cr3t-value")
    out = shell("env; cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline | tr '\\0' '\\n'")
    assert "HOME=/work" in out.stdout and "s3cr3t-value" not in out.stdout
    bare = shell("env", name="unsafe")
    assert "HOME=" in bare.stdout and "s3cr3t-value" not in bare.stdout


def test_job_files_are_read_only_and_nothing_else_is_inherited():
    script = "chmod u+w ../job/f; rm -f ../job/f; echo x >> ../job/f; mv ../job /tmp/j; cat ../job/f; ls /proc/self/fd"
    out = sandbox.run(["/bin/sh", "-c", script], {"f": b"kept"}, SMALL, level())
    assert out.stdout.split() == ["kept0", "1", "2", "3"]  # 3 is ls's own folder


def test_other_machines_get_no_wrong_filter():
    assert seccomp.program(machine="riscv64") == b""
    assert len(seccomp.program(machine="aarch64")) % 8 == 0
    assert len(seccomp.program(hidden_memory=True)) < len(seccomp.program())


# ---- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEVELS)
def test_infinite_loop_ends_by_cpu_time(name):
    out = attack("for (;;) {}", limits=replace(SMALL, cpu_s=0.5), name=name)
    assert out.status == "timeout" and 0.5 <= out.cpu_s < 1.0


def test_cpu_time_of_ignored_signals_and_children_counts_together():
    body = "signal(SIGXCPU, SIG_IGN); fork(); fork(); for (;;) {}"
    out = attack(body, limits=replace(SMALL, cpu_s=1))
    assert out.status == "timeout" and 1.0 <= out.cpu_s < 1.6


@pytest.mark.parametrize("name", LEVELS)
def test_sleeping_for_ever_ends_by_wall_time(name):
    token = uuid.uuid4().hex
    out = attack("for (;;) pause();", token, limits=replace(SMALL, wall_s=0.4), name=name)
    assert out.status == "timeout" and out.cpu_s < 0.2 and gone(token)


@pytest.mark.parametrize("name", LEVELS)
def test_fork_bomb_is_contained(name):
    token = uuid.uuid4().hex
    body = "for (;;) fork();" if name == "bwrap" else "for (int i = 0; i < 200; i++) if (!fork()) { pause(); } pause();"
    out = attack(body, token, limits=replace(SMALL, cpu_s=1, wall_s=5), name=name)
    assert out.status in ("timeout", "process_limit") and gone(token)


def test_process_limit_binds():
    out = attack(
        'int n = 0; while (n < 500) { int p = fork(); if (!p) pause(); if (p < 0) break; n++; } printf("%d", n);'
    )
    assert 0 < int(out.stdout) < SMALL.processes


@pytest.mark.parametrize("name", LEVELS)
def test_memory_of_all_children_counts_together(name):
    body = """for (int i = 0; i < 8; i++) if (!fork()) {
      char *p = malloc(100 << 20); memset(p, 1, 100 << 20); sleep(20); } sleep(20);"""
    out = attack(body, limits=SMALL, name=name)
    assert out.status == "memory_limit" and SMALL.memory_mb < out.peak_mb < 3 * SMALL.memory_mb


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_flood_is_cut(stream, name):
    out = attack(f'for (;;) fputs("flooding\\n", {stream});', name=name)
    assert out.status == "output_limit"
    assert len(out.stdout) <= SMALL.output_bytes and len(out.stderr) <= sandbox.STDERR_BYTES


# ---- ends ------------------------------------------------------------------------------------------------------------


def test_killing_the_parent_and_everyone_ends_nobody_else():
    out = attack('signal(SIGTERM, SIG_IGN); kill(getppid(), SIGKILL); kill(1, SIGKILL); kill(-1, SIGTERM); puts("on");')
    assert out.status == "ok" and out.stdout == "on\n"
    assert attack("kill(-1, SIGKILL); kill(getpid(), SIGKILL);").status == "crash"


@pytest.mark.parametrize("name", LEVELS)
def test_a_grandchild_that_holds_the_pipe_is_not_waited_for(name):
    token = uuid.uuid4().hex
    late = 'usleep(300000); for (;;) { puts("late"); usleep(1000); }'
    body = f'if (!fork()) {{ if (!fork()) {{ {late} }} _exit(0); }} puts("done");'
    start = time.monotonic()
    out = attack(body, token, name=name, limits=replace(SMALL, wall_s=60))
    assert out.status == "ok" and out.stdout.startswith("done")
    assert time.monotonic() - start < 30 and gone(token)


@pytest.mark.parametrize("name", LEVELS)
def test_a_daemon_with_its_own_session_dies_with_the_sandbox(name):
    token = uuid.uuid4().hex
    pause = 0 if name == "bwrap" else 200_000  # bare, only what was seen running is found again
    daemon = f"setsid(); if (!fork()) for (;;) pause(); usleep({pause}); _exit(0);"
    out = attack(f"if (!fork()) {{ {daemon} }} usleep(400000);", token, name=name)
    assert out.status == "ok" and gone(token)


def test_the_sandbox_dies_with_the_harness(tmp_path):
    mark = f"61.{uuid.uuid4().int % 10**12}"
    run = f"sandbox.run(['sleep', '{mark}'], {{}}, sandbox.Limits(cpu_s=60), sandbox.probe())"
    code = f"from parallax_lib.sandbox import sandbox; {run}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 30
    while not asleep(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert asleep(mark)
    process.kill()
    process.wait()
    assert gone(mark)


def test_exit_codes_and_signals_come_through():
    assert (shell("exit 7").status, shell("exit 7").returncode) == ("crash", 7)
    assert shell("kill -ABRT $$").returncode == 128 + signal.SIGABRT
    assert shell("kill -ABRT $$", name="unsafe").status == "crash"


def test_text_is_cleaned():
    out = shell(r"printf 'a\033[31m\000b\377\tc\r\n'")
    assert out.stdout == "a[31mb�\tc\n"
    assert out.printed == "a\033[31m\0b\\xff\tc\r\n"  # what compares outputs reads every byte


# ---- outputs ---------------------------------------------------------------------------------------------------------


def test_only_wanted_outputs_of_a_success_come_out():
    assert shell("echo x > wanted; echo y > unwanted", outputs=("wanted",)).files == {"wanted": b"x\n"}
    assert shell("echo x > wanted; exit 3", outputs=("wanted",)).files == {}
    assert shell("true", outputs=("wanted",)).files == {}


def test_job_output_on_stdout_cannot_forge_a_file():
    forged = "tar -cf - -C /usr/bin env; echo real > got"
    assert shell(forged, outputs=("got", "env")).files.get("env") is None
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("../got", "./got", "/got", "other"):
            tar.addfile(tarfile.TarInfo(name))
    assert sandbox._unpack(stream.getvalue(), ("got",)) == {}


# ---- levels ----------------------------------------------------------------------------------------------------------


def test_no_bubblewrap_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(landlock, "landlock_abi", lambda: 0)
    with pytest.raises(UserError, match=r"bwrap.*apt-get install -y bubblewrap.*unsafe: true") as error:
        sandbox.probe.__wrapped__()
    assert "\n" not in str(error.value)
    assert sandbox.probe.__wrapped__(unsafe=True).name == "unsafe"


def test_no_user_namespaces_is_refused_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if landlock.landlock_abi():
        assert sandbox.probe.__wrapped__().name == "degraded"
    monkeypatch.setattr(landlock, "landlock_abi", lambda: 0)
    with pytest.raises(UserError, match="No permissions to create new namespace.*unsafe: true") as error:
        sandbox.probe.__wrapped__()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "extra, said",
    [
        (("--share-net",), "network"),
        (("--bind", "/tmp", "/home"), "/home"),
        (("--setenv", "A", "b"), ""),
    ],
)
def test_the_self_check_sees_a_sandbox_that_leaks(extra, said):
    whole = level()
    broken = sandbox.broken_promise(replace(whole, options=(*whole.options, *extra)))
    assert (said in broken and broken) if said else broken == ""


def test_failures_on_our_side_are_infra_errors():
    absent = replace(level(), bwrap="/nonexistent/bwrap")
    assert sandbox.run(["true"], {}, SMALL, absent).status == "infra_error"
    broken = replace(level(), options=(*level().options, "--no-such-option"))
    assert sandbox.run(["true"], {}, SMALL, broken).status == "infra_error"
    assert shell("echo 'bwrap: not really'; exit 1").status == "crash"


def free(user):
    path = Path(tempfile.gettempdir()) / f"parallax-user-{user}.lock"
    with open(path, "a") as lock:
        return not process_limits._taken(lock.fileno())


@pytest.mark.skipif(os.geteuid() != 0 or not landlock.landlock_abi(), reason="needs root and Landlock")
def test_a_fork_bomb_of_the_degraded_level_hinders_no_run_beside_it_and_leaves_nothing_that_counts():
    lesser = Level("degraded", user=sandbox.NOBODY)
    bomb = compiled("for (;;) fork();")
    twenty = compiled("for (int i = 0; i < 20; i++) { int p = fork(); if (p < 0) return 3; if (!p) { sleep(1); _exit(0); } }")
    ends = []

    def explode():
        ends.append(sandbox.run(["../job/a"], {"a": bomb}, SMALL, lesser).status)

    bombs = [threading.Thread(target=explode) for _ in range(2)]
    for thread in bombs:
        thread.start()
    beside = [sandbox.run(["../job/a"], {"a": twenty}, replace(SMALL, wall_s=60), lesser).status for _ in range(3)]
    for thread in bombs:
        thread.join()
    assert beside == ["ok"] * 3 and set(ends) <= {"timeout", "process_limit"}
    # where nobody reaps orphans the dead would go on counting; another test's run may hold one of the user ids
    assert [user for user in process_limits.USERS if process_limits._count(user) and free(user)] == []


CROWDED = """
import resource, sys, threading, time
from dataclasses import replace
from parallax_lib.sandbox import process_limits, sandbox
limits, level = sandbox.Limits(cpu_s=3, processes=64), replace(sandbox.probe(), user=int(sys.argv[4]))
program = open(sys.argv[1], "rb").read()
run = lambda *args: sandbox.run(["../job/a", *args], {"a": program}, limits, level)
resource.setrlimit(resource.RLIMIT_NPROC, tuple(map(int, sys.argv[2:4])))
print(run("20", "0").status)
other = threading.Thread(target=run, args=("20", "15000000"))
other.start()
for _ in range(300):  # until the other run has its threads
    if not process_limits.shortage(level.user, 21): time.sleep(0.01)
crowded = run("20", "2000000")
print(crowded.status, crowded.stderr)
other.join()
print(run("100", "300000").status)
"""


def ended(path):
    raise ProcessLookupError(3, "No such process", str(path))


def test_processes_that_end_while_they_are_counted_are_nobodys(monkeypatch):
    before, listed = process_limits._count(os.getuid()), os.listdir
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(process_limits.os, "listdir", lambda path: [*listed(path), str(gone.pid), "4194305"])
    monkeypatch.setattr(Path, "exists", ended)  # what pathlib's glob asks of every file, and does not catch
    assert abs(process_limits._count(os.getuid()) - before) < 200 and process_limits._counts(Path("/proc/4194305")) == (-1, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs user ids that nothing else runs as")
def test_a_process_limit_that_others_use_up_is_no_crash(tmp_path):
    """Twenty threads are well within a run's own 64; what stops them is a limit of the user's, shared with another run."""
    helpers = "void *rest(void *us) { usleep(*(int *)us); return 0; }"
    body = """int us = atoi(argv[2]); pthread_t t[100];
      for (int i = 0; i < atoi(argv[1]); i++) if (pthread_create(t + i, 0, rest, &us)) return 3;
      for (int i = 0; i < atoi(argv[1]); i++) pthread_join(t[i], 0);"""
    (tmp_path / "a").write_bytes(compiled(body, helpers))
    user, cases = 60_000 + os.getpid() % 2500 * 2, ((40, "infra_error"), (2000, "crash"))  # what others use up; what a hundred threads get
    started = []
    for i, (soft, _) in enumerate(cases):
        command = [sys.executable, "-c", CROWDED, str(tmp_path / "a"), str(soft), "4096", str(user + i)]
        started.append(subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True))
    for (soft, alone), process in zip(cases, started, strict=True):
        said, _ = process.communicate(timeout=180)
        first, hundred = said.split("\n", 1)[0], said.split()[-1]
        assert first == "ok" and (hundred == alone or (hundred, alone) == ("process_limit", "crash")), said
        assert ("infra_error a process limit of 40" in said) == (soft == 40), said


SQUEEZED = """
import os, resource, sys, threading, time
from dataclasses import replace
from pathlib import Path
from parallax_lib.sandbox import process_limits, sandbox
limits, level = sandbox.Limits(cpu_s=3, wall_s=120, processes=64), replace(sandbox.probe(), user=int(sys.argv[2]))
program = open(sys.argv[1], "rb").read()
run = lambda *args: sandbox.run(["../job/a", *args], {"a": program}, limits, level)
large = lambda: [p for p in process_limits.processes() if process_limits._counts(p) == (level.user, 61)]
resource.setrlimit(resource.RLIMIT_NPROC, (100, 4096))
other = threading.Thread(target=run, args=("60", "90000000", "0"))
other.start()
while not (first := large()): time.sleep(0.01)

def relieve():
    while process_limits._use(level.user)[2] < 100: time.sleep(0.01)  # until the second run has hit the limit
    os.kill(int(first[0].name), 9)

threading.Thread(target=relieve).start()
squeezed = run("60", "3000000", "3000000")
other.join()
print(squeezed.status, squeezed.stderr)
print(run("90", "300000", "0").status)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user id that nothing else runs as")
def test_a_squeeze_that_has_passed_when_the_run_ends_is_no_crash(tmp_path):
    """The run fails while another one has the processes and ends when that one is long gone; a fault of its own stays one."""
    helpers = "void *rest(void *us) { usleep(*(int *)us); return 0; }"
    body = """int us = atoi(argv[2]), failed = 0; pthread_t t[100];
      for (int i = 0; i < atoi(argv[1]); i++) failed |= pthread_create(t + i, 0, rest, &us);
      if (failed) { usleep(atoi(argv[3])); return 3; }
      for (int i = 0; i < atoi(argv[1]); i++) pthread_join(t[i], 0);"""
    (tmp_path / "a").write_bytes(compiled(body, helpers))
    command = [sys.executable, "-c", SQUEEZED, str(tmp_path / "a"), str(60_000 + os.getpid() % 5000)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert "infra_error ended with 3, and not when run again" in done.stdout, done
    assert done.stdout.split()[-1] in ("crash", "process_limit"), done


def test_many_at_once_do_not_mix():
    results = {}

    def one(i):
        results[i] = sandbox.run(
            ["/bin/sh", "-c", "cat ../job/f; cat"], {"f": b"f%d " % i}, SMALL, level(), stdin=b"s%d" % i
        )

    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [results[i].stdout for i in range(12)] == [f"f{i} s{i}" for i in range(12)]


def test_unsafe_level_is_named_and_cleans_up(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Level("unsafe") == level("unsafe")
    assert shell("echo x > left; pwd", name="unsafe").stdout.startswith(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_runs_on_gpus_see_one_of_them_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,7")
    show = ["/bin/sh", "-c", "echo -n $CUDA_VISIBLE_DEVICES"]
    seen = [sandbox.run(show, {}, Limits(), sandbox.probe(), gpu=True).stdout for _ in range(3)]
    assert seen in (["1", "7", "1"], ["7", "1", "7"])
    assert sandbox.run(show, {}, Limits(), sandbox.probe()).stdout == ""
