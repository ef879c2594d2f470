"""Known programs before candidates: real faults of a machine, each told in one line with what mends it, and none of them a verdict.

That every part of this machine passes at both levels is a row of the self-check (test_sandbox_check.py).
"""

import os
import re
import shlex
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from programs import KERNEL, OMP, SERIAL, TASK, needs_nvcc, sandboxed

from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import Journal
from parallax_lib.sandbox import landlock, machine_limits, sandbox, scratch
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.tasks.task import Task
from parallax_lib.verdict import admission, batch, build, compiler_files, readmission, remedies, toolchain, validate
from parallax_lib.verdict.reference import Bench, tool_facts

pytestmark = [sandboxed, pytest.mark.filterwarnings("ignore:this machine"), pytest.mark.usefixtures("references_once")]
LIMITS = Limits(cpu_s=10, memory_mb=1024)
LESSER = Level("degraded", user=sandbox.NOBODY if os.geteuid() == 0 else None)
ROOT = Path(__file__).parents[1]
lesser = pytest.mark.skipif(not landlock.landlock_abi(), reason="the kernel has no Landlock")
THREADS = OMP.replace("int main(", "#include <omp.h>\nint main(").replace("  int n =", "  omp_set_num_threads(MANY);\n  int n =")


@pytest.fixture(autouse=True)
def nothing_is_believed(monkeypatch, tmp_path):
    """No part passed before, in this process or another."""
    monkeypatch.setattr(admission, "PASSED", {})
    monkeypatch.setattr(admission, "_shared", lambda: Journal(tmp_path / "parts.sqlite"))


@pytest.fixture
def open_path():
    """A folder that other users may enter, unlike pytest's own."""
    with scratch.folder() as folder:
        yield folder


def bench(level=None, journal=None, **tools):
    found = toolchain.detect()
    return Bench({**found, **tools}, level or sandbox.probe(), LIMITS, journal)


def script(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def row(rows, part):
    return next(r for r in rows if r.part == part)


def one_line(text, *words):
    assert "\n" not in text and all(word in text for word in words), text


# ---- what passes, and what it costs ----------------------------------------------------------------------------------


def test_a_part_that_passed_is_not_judged_again_until_a_tool_changes(monkeypatch, open_path):
    compiler = script(open_path / "bin", "g++", 'exec /usr/bin/g++ "$@"')
    tools = {api: replace(tool, compiler=str(compiler), roots=(str(compiler),)) for api, tool in toolchain.detect().items()}
    asked = []

    def judged(code, *more):
        asked.append(code)
        return validate.judged(code, *more) if len(asked) > 1 else validate.Verdict(2, "crash")

    first = admission.admit(bench(**tools), {"serial"}, judged)
    assert len(asked) == 3  # the right program twice, as it crashed; the wrong one once
    assert admission.admit(bench(**tools), {"serial"}, judged).bench.admission == first.bench.admission and len(asked) == 3
    monkeypatch.setattr(admission, "PASSED", {})  # another process finds it in the file
    admission.admit(bench(**tools), {"serial"}, judged)
    assert len(asked) == 3
    script(open_path / "bin", "g++", 'exec /usr/bin/g++  "$@"')
    assert admission.admit(bench(**tools), {"serial"}, judged).bench.admission != first.bench.admission and len(asked) == 5


# ---- toolchains ------------------------------------------------------------------------------------------------------


@needs_nvcc
@pytest.mark.slow
def test_an_nvcc_that_refuses_the_host_compiler_or_accepts_anything_is_left_out(monkeypatch, open_path):
    says = "error: -- unsupported GNU version! gcc versions later than 11 are not supported!"
    words = ("unsupported GNU version", "put a g++ that it supports")
    scripts = ((f'echo "{says}" >&2; exit 1', words, {"CUDA", "nvcc's consent"}), ("exit 0", (), {"nvcc's consent"}))
    task = replace(Task(KERNEL, "serial", "cuda"), kernel=admission.known.KERNEL)
    for i, (text, words, parts) in enumerate(scripts):
        folder = open_path / str(i) / "bin"
        script(folder, "nvcc", text)
        with monkeypatch.context() as m:
            m.setenv("PATH", f"{folder}:{os.environ['PATH']}")
            found = bench()
            assert found.toolchains["cuda"].gate[0] == str(folder / "nvcc")
            done = admission.admit(found, parts, validate.judged)
        cuda = done.bench.toolchains["cuda"]
        assert cuda.gate == () and "without nvcc" in cuda.version and tool_facts(cuda) != tool_facts(found.toolchains["cuda"])
        one_line(done.lines[0], "switched off", *words)
        assert validate.judged(admission.known.CUDA, task, done.bench, None).reason == "ok"


@needs_nvcc
def test_a_toolkit_without_a_library_makes_no_compile_error():
    """Headers of a toolkit's that it lacks; one that no toolkit has is the program's own mistake."""
    absent = bench(cuda=replace(toolchain.detect("compile")["cuda"], roots=()))
    shown = {"cublas_v2.h": "not_checkable", "curand_kernel.h": "not_checkable", "cuda_helpers_of_mine.h": "compile_error"}
    include = Path(absent.toolchains["cuda"].compiler).parents[1] / "include"
    for header, reason in shown.items():
        if not (include / header).exists():
            code = f"#include <{header}>\n{admission.known.CUDA}"
            assert build.build(code, absent.toolchains["cuda"], (), absent.level).reason == reason, header


def test_a_compiler_that_is_gone_or_lost_its_tools_is_no_compile_error():
    tool = toolchain.detect()["omp"]
    gone = replace(tool, compiler="/usr/bin/g++-that-is-gone")
    assert build.build(SERIAL, gone, (), sandbox.probe()).reason == "infra_error"
    with pytest.raises(UserError) as error:
        admission.admit(bench(serial=replace(gone, api="serial", flags=("-O2",))), {"serial"}, validate.judged)
    one_line(str(error.value), "not found", "install it again")


def test_a_broken_runtime_is_switched_off_and_verdicts_without_it_are_others(tmp_path):
    omp = toolchain.detect()["omp"]
    if not omp.llvm.libomp:
        pytest.skip("libomp is not installed")
    broken = replace(omp, llvm=replace(omp.llvm, libomp="/usr/lib/libomp-that-is-gone.so.5", archer=""), offloaded=None)
    done = admission.admit(bench(omp=broken), {"OpenMP"}, validate.judged)
    one_line(done.lines[0], "OpenMP at level bwrap: switched off", "not parallel")
    assert not done.bench.toolchains["omp"].llvm.libomp and "proof of parallelism" in done.bench.toolchains["omp"].off
    assert validate.verdict_key(OMP, TASK, done.bench) != validate.verdict_key(OMP, TASK, bench(omp=broken))


@pytest.mark.slow
def test_a_gpu_that_cannot_be_used_is_refused_and_a_second_job_on_it_is_told(monkeypatch, tmp_path):
    if toolchain.gpu_name() or toolchain.cuda_home() is None:
        pytest.skip("needs nvcc and no GPU")
    says = 'case "$*" in -L) echo "GPU 0: Pretended (UUID: x)";; *used*) echo "40000, 80000, 97";; *) echo 9.0;; esac'
    script(tmp_path, "nvidia-smi", says)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert toolchain.detect()["cuda"].gpu
    with pytest.raises(UserError) as error:
        admission.admit(bench(), {"CUDA"}, validate.judged)
    one_line(str(error.value), "CUDA at level", "error 35", "driver is missing or older", "validation.cuda: emulated")
    done = admission.admit(replace(bench(), timing="on"), {"timing lane"}, validate.judged)
    one_line(done.lines[0], "timing lane", "another job uses a GPU here (40000 of 80000 MiB, 97 % busy)")
    assert done.bench.timing == "off"


# ---- where compilers lie ---------------------------------------------------------------------------------------------

SPY = """#include <dirent.h>
#include <stdio.h>
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    DIR *d = opendir(argv[i]);
    for (struct dirent *e; d && (e = readdir(d));) if (e->d_name[0] != '.') printf("sees %s ", e->d_name);
    if (FILE *f = fopen(argv[i], "r")) if (!d) printf("reads %s ", argv[i]);
  }
  return 0;
}
"""


@lesser
def test_a_script_in_the_home_folder_shows_nothing_beside_itself(monkeypatch, open_path):
    home = open_path / "home"
    script(home / "bin", "g++", 'exec /usr/bin/g++ "$@"')
    (home / "bin" / "private").write_text("x")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "key").write_text("x")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
    tool = toolchain.detect()["serial"]
    assert tool.compiler == f"{home}/bin/g++" and tool.roots == (tool.compiler,) and tool.run_roots == ()
    look = f"cat {home}/.ssh/key {home}/bin/private; ls {home}/.ssh"
    for level in (sandbox.probe(), LESSER):
        built = build.build(SPY, tool, (), level)
        ran = build.execute(built.program, tool, (f"{home}", f"{home}/bin", f"{home}/.ssh/key", tool.compiler), LIMITS, level, {})
        assert (built.reason, ran.reason, ran.text) == ("ok", "ok", ""), (built.log, ran)
        assert sandbox.run(["/bin/sh", "-c", look], {}, LIMITS, level, roots=tool.roots).stdout == ""


def copied_gcc(folder):
    """A compiler of its own below `folder`, as an installation with another prefix is; the path of its g++."""
    own = subprocess.run(["g++", "-print-search-dirs"], capture_output=True, text=True).stdout
    install = Path(re.search(r"^install: (.+)$", own, re.M)[1])
    there = folder / "lib" / "gcc" / install.parent.name
    there.mkdir(parents=True)
    (folder / "bin").mkdir()
    subprocess.run(["cp", "-L", "/usr/bin/g++", str(folder / "bin" / "g++")], check=True)
    subprocess.run(["cp", "-r", str(install), str(there)], check=True)
    return folder / "bin" / "g++"


@lesser
def test_a_compiler_below_a_scratch_folder_and_a_link_to_it_work(monkeypatch, open_path):
    if not str(open_path).startswith("/tmp/"):
        pytest.skip("needs a folder that the sandbox has of its own")
    compiler = copied_gcc(open_path / "gcc")
    (open_path / "links").mkdir()
    (open_path / "links" / "g++").symlink_to(compiler)
    for folder in (compiler.parent, open_path / "links"):
        with monkeypatch.context() as m:
            m.setenv("PATH", f"{folder}:{os.environ['PATH']}")
            tools = toolchain.detect()
        assert str(open_path / "gcc" / "lib") in tools["omp"].roots
        for level in (sandbox.probe(), LESSER):
            verdict = validate.judged(OMP, TASK, Bench(tools, level, LIMITS), None)
            assert verdict.validated, verdict


def test_what_is_too_wide_to_be_shown(monkeypatch, open_path):
    monkeypatch.setenv("HOME", str(open_path / "home" / "me"))
    (open_path / "home" / "me" / "cuda" / "bin").mkdir(parents=True)
    for path in ("/", "/tmp", "/opt", "/root", str(open_path), str(open_path / "home"), str(open_path / "home" / "me")):
        assert not Path(path).exists() or compiler_files.too_wide(Path(path)), path
    assert not compiler_files.too_wide(open_path / "home" / "me" / "cuda")
    assert compiler_files.installation(open_path / "home" / "me" / "cuda") == (str(open_path / "home" / "me" / "cuda"),)
    assert compiler_files.installation(Path("/usr/local/cuda")) == ()


# ---- the shell's and the container's limits --------------------------------------------------------------------------

PROBE = """
import os, sys
from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import Level, Limits
from parallax_lib.verdict import admission, toolchain, validate
from parallax_lib.verdict.reference import Bench
admission._shared = lambda: None
for asked in sys.argv[1:]:
    name, part = asked.split(":")
    try:
        level = sandbox.probe() if name == "bwrap" else Level("degraded", user=sandbox.NOBODY if os.geteuid() == 0 else None)
        bench = Bench(toolchain.detect(), level, Limits(memory_mb=1024), races="auto")
        print(admission.admit(bench, {part}, validate.judged).rows[-1].state)
    except UserError as e:
        print("refused", e)
"""


STAGE = "OpenMP race stage" if toolchain.detect()["omp"].llvm.tsan else "OpenMP"


def surroundings(*asked, before="", command=(sys.executable,), **env):
    """What a new process says of each (level, part of this machine) after some shell commands, with other variables: a line each."""
    parts = shlex.join(f"{level}:{part}" for level, part in asked)
    text = f'{before}\nprobe=$1; shift; exec "$@" -W ignore -c "$probe" {parts}'
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(["/bin/bash", "-ec", text, "bash", PROBE, *command], capture_output=True, text=True, env=env, timeout=600)
    said = done.stdout.splitlines()
    assert len(said) == len(asked), done.stdout + done.stderr
    return said


@pytest.mark.slow
@lesser
def test_a_umask_and_a_closed_or_noexec_or_full_folder_for_files_change_nothing(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "tmp").mkdir(mode=0o777)
    cases = [("umask 077", {}), ("", {"TMPDIR": str(closed / "tmp")})]
    if os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0:
        mounted = f"mkdir -p {tmp_path}/m; mount -t tmpfs -o %s none {tmp_path}/m; export TMPDIR={tmp_path}/m"
        again = '[ -n "$P" ] || P=1 exec unshare -m "$BASH" -ec "$BASH_EXECUTION_STRING" "$0" "$@"'
        full = f"{mounted % 'size=1m'}; head -c 2M /dev/zero > {tmp_path}/m/full 2>/dev/null || true"
        cases += [(f"{again}\n{how}", {}) for how in (mounted % "noexec", full, mounted % "nr_inodes=3")]
    for i, (before, env) in enumerate(cases):  # the race stage, which takes longest, at one of the levels
        levels = ("bwrap", "degraded") if i % 2 else ("degraded", "bwrap")
        assert surroundings((levels[0], STAGE), (levels[1], "serial"), before=before, **env) == ["ok"] * 2, (before, env)


USER = "61234"  # no name, no home


@pytest.fixture
def as_user(monkeypatch):
    """The command of a Python that runs as a user that is not root."""
    python = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))]))
    monkeypatch.setenv("HOME", "/nonexistent")
    for path in python if os.geteuid() == 0 else ():
        command = ("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", path)
        able = "import os, sys, numpy, parallax_lib.core.config; sys.exit(not os.access(sys.executable, os.X_OK))"
        if subprocess.run([*command, "-c", able], capture_output=True).returncode == 0:
            return command
    return pytest.skip("needs root, and a Python and a checkout that others may read")


def gone(user):
    """Wait until the system has forgotten all processes of the user: those that have ended count for its limit until then."""
    deadline = time.monotonic() + 120
    while subprocess.run(["pgrep", "-u", user], capture_output=True).returncode == 0 and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.mark.slow
@lesser
def test_a_user_that_is_not_root_judges_at_both_levels_and_few_processes_are_no_verdict(as_user):
    both = [(level, "OpenMP") for level in ("bwrap", "degraded")]
    path = os.environ["PYTHONPATH"]
    assert surroundings(*both, before="umask 077", command=as_user, PYTHONPATH=path) == ["ok"] * 2
    for asked in both:
        gone(USER)
        (said,) = surroundings(asked, before="ulimit -u 9", command=as_user, PYTHONPATH=path)
        assert said == "ok" or (said.startswith("refused") and "process limit of 9" in said), said


@pytest.mark.slow
@lesser
def test_limits_of_the_shell_are_named():
    for letter, amount, part in (("f", 64, "serial"), ("v", 3_000_000, "OpenMP"), ("t", 30, "serial")):
        for said in surroundings(("bwrap", part), ("degraded", "serial"), before=f"ulimit -{letter} {amount}"):
            assert said == "ok" or (said.startswith("refused") and f"ulimit -{letter}" in said and "user namespaces" not in said), said
    assert surroundings(("degraded", "serial"), before="ulimit -S -v 3000000") == ["ok"]  # what may be lifted is
    assert surroundings(("bwrap", "serial"), ("degraded", "serial"), before="ulimit -n 150") == ["ok"] * 2  # a lower descriptor


def test_lines_for_limits_name_what_to_type(monkeypatch):
    import resource

    low = {"FSIZE": 1 << 16, "AS": 1 << 30, "STACK": 1 << 20}
    for name, limit in low.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        with monkeypatch.context() as m:
            bounds = {kind: (limit, limit)}
            m.setattr(machine_limits.resource, "getrlimit", lambda asked, bounds=bounds: bounds.get(asked, (-1, -1)))
            found = [line for line in machine_limits.shortages(LIMITS) if "ulimit" in line]
            assert len(found) == 1 and re.search(r"ulimit -[fvs]: .* raise it: ulimit -[fvs] unlimited$", found[0]), found
            one_line(remedies.remedy("Killed", LIMITS), "ulimit")


def test_control_groups_of_both_versions_are_read(monkeypatch, tmp_path):
    """Their files as the kernel writes them: what is left, and what they did to a run."""
    two, one = tmp_path / "v2", tmp_path / "v1"
    for folder, files in (
        (two / "job", {"memory.max": "536870912", "memory.current": "134217728", "memory.stat": "anon 1\ninactive_file 1048576",
                       "memory.events": "low 0\noom 1\noom_kill 3", "pids.max": "100", "pids.current": "40", "pids.events": "max 7"}),
        (one / "memory" / "job", {"memory.limit_in_bytes": "536870912", "memory.usage_in_bytes": "134217728",
                                  "memory.stat": "cache 5\ntotal_inactive_file 1048576", "memory.oom_control": "under_oom 0\noom_kill 3"}),
        (one / "pids" / "job", {"pids.max": "100", "pids.current": "40", "pids.events": "max 7"}),
    ):  # fmt: skip
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text + "\n")
    for base, lines in ((two, "0::/job\n"), (one, "5:pids:/job\n4:memory,cpu:/job\n0::/\n")):
        (tmp_path / "ours").write_text(lines)
        monkeypatch.setattr(machine_limits, "CGROUPS", base)
        monkeypatch.setattr(machine_limits, "OURS", tmp_path / "ours")
        assert machine_limits.room_mb() == 385 and machine_limits.processes_left() == 60 and machine_limits.strikes() == (3, 7)
        assert "memory limit" in machine_limits.struck((2, 7), 137) and not machine_limits.struck((3, 7), 137)
        assert "pids.max" in machine_limits.struck((3, 6), 134) and not machine_limits.struck((2, 7), 134)
        said = machine_limits.shortages(replace(LIMITS, memory_mb=2048))
        assert [line.split(":")[0] for line in said[-2:]] == ["memory limit of the container or batch job",
                                                              "process limit of the container or batch job (pids.max)"]  # fmt: skip
    level, counts = sandbox.probe(), iter([(0, 0), (1, 0)])
    monkeypatch.setattr(machine_limits, "strikes", lambda: next(counts))
    out = sandbox.run(["/bin/sh", "-c", "kill -9 $$"], {}, replace(LIMITS, memory_mb=4096), level)
    assert out.status == "infra_error" and "memory limit of the container" in out.stderr


# ---- processes, disks, folders ---------------------------------------------------------------------------------------


@lesser
def test_up_to_256_threads_are_no_crash_and_more_break_a_limit_that_is_named():
    for level in (sandbox.probe(), LESSER):
        for threads, reason in ((256, "ok"), (900, "process_limit")):
            verdict = validate.judged(THREADS.replace("MANY", str(threads)), TASK, bench(level), None)
            assert verdict.reason == reason, (level.name, threads, verdict)
        assert "process limit of 320" in verdict.log


def test_deep_closed_and_odd_folders_are_removed(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(1200):  # over the limit of recursion
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.mkdir("closed", 0, dir_fd=here)
    os.close(here)
    (top / "\udcff file").write_text("x")
    (top / "link").symlink_to(tmp_path)
    os.mkfifo(top / "pipe")
    scratch.remove(top)
    assert not top.exists() and tmp_path.exists()


# ---- a machine that breaks later -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_machine_that_breaks_stops_the_run_and_forgets_what_was_judged_since(monkeypatch, tmp_path, open_path):
    compiler = script(open_path / "bin", "g++", 'exec /usr/bin/g++ "$@"')
    shown = {"compiler": str(compiler), "roots": (str(compiler),)}
    tools = {api: replace(tool, **shown, llvm=replace(tool.llvm, libomp="", clang="")) for api, tool in toolchain.detect().items()}
    journal = Journal(tmp_path / "journal.sqlite")
    monkeypatch.setattr(readmission, "EVERY", 3)
    items = [(f"{SERIAL}// {i}", Task(KERNEL, "omp", "serial")) for i in range(6)]
    judge = lambda some: batch.judge_many(some, tools, sandbox.probe(), LIMITS, journal, 2)  # noqa: E731
    assert all(v.validated for v in judge(items[:3]))  # three new ones: the machine is looked at, and well
    kept = journal.rows("verdict")
    assert len(kept) == 3 and len({r["admission"] for r in kept.values()}) == 1
    looked = readmission.look

    def breaks(*more):
        script(open_path / "bin", "g++", 'echo "g++: internal confusion" >&2; exit 1')
        return looked(*more)

    monkeypatch.setattr(readmission, "look", breaks)
    with pytest.raises(UserError) as error:
        judge(items)
    one_line(str(error.value), "internal confusion", "judged well at first", "run the same command again")
    assert journal.rows("verdict") == kept  # neither more nor less than what was confirmed
    script(open_path / "bin", "g++", 'exec /usr/bin/g++ "$@"')
    monkeypatch.setattr(readmission, "look", looked)
    assert all(v.validated for v in judge(items)) and len(journal.rows("verdict")) == 6


def test_many_failures_alike_ask_for_a_look_and_harmless_ones_only_once():
    watch, verdict = readmission.Watch(), validate.Verdict(1, "compile_error", log="main.cpp:%d:1: error: '%s' was not declared")
    said = [watch.note(str(i), replace(verdict, log=verdict.log % (i, "x" * i))) for i in range(1, readmission.ALIKE + 1)]
    assert said == [False] * (readmission.ALIKE - 1) + [True]
    watch.well()
    again = replace(verdict, log=verdict.log % (7, "y"))
    assert not any(watch.note(str(i), again) for i in range(3 * readmission.ALIKE))
    serial = validate.Verdict(2, "not_parallel", log="no pragma")
    assert not any(readmission.Watch().note(str(i), serial) for i in range(50))
    mixed = readmission.Watch()
    assert not any(mixed.note(str(i), replace(verdict, log=("a", "b")[i % 2])) for i in range(50))


def test_lines_are_warnings_and_judge_asks_too(monkeypatch, tmp_path):
    hopeless = [replace(p, programs=((SERIAL, "omp", "ok"),), off=None) for p in admission.PARTS if p.name == "OpenMP"]
    monkeypatch.setattr(admission, "PARTS", hopeless)
    with pytest.raises(UserError) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate.judge(OMP, TASK, toolchain.detect(), sandbox.probe(), LIMITS)
    one_line(str(error.value), "this machine cannot judge: OpenMP")
