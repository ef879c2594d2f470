"""What the harness links into programs: its texts, and their object files.

Knows the texts in probes/ and how each is compiled.  Knows nothing of programs, how they are linked, or verdicts.

These texts take longer to compile than most programs, and are the same for all of them.  So they are compiled in a job of their own,
and kept: by the process, and in a folder of this user's that its other processes find too.
"""

from __future__ import annotations

import functools
import shlex
from dataclasses import asdict
from pathlib import Path

from parallax_lib.core.storage import digest
from parallax_lib.sandbox import sandbox
from parallax_lib.sandbox.sandbox import JOB, Level, Limits
from parallax_lib.verdict import kept_files
from parallax_lib.verdict.llvm import REGISTER
from parallax_lib.verdict.toolchain import BASE, Toolchain

BUILD_LIMITS = Limits(cpu_s=60, wall_s=600, memory_mb=4096, output_bytes=1 << 20, processes=64, tmp_mb=256)
PROBES = Path(__file__).parent / "probes"
PROOFS = {"omp": ("ompt.cpp",), "cuda": ("seen.cpp", "launches.cpp", "poison.cpp")}  # one text each
MARKER = ("marker.cpp", "results.cpp")
OFFLOADED = ("seen.cpp", "offloaded.cpp")
MADE: dict[str, dict[str, bytes]] = {}  # by all that they were made from


def proof_source(toolchain: Toolchain) -> bytes:
    """What the harness links into this toolchain's programs to count what they do; b"" for none."""
    able = {"omp": bool(toolchain.llvm.libomp), "cuda": toolchain.compiler.endswith("/nvcc")}
    return b"".join(text(name) for name in PROOFS[toolchain.api]) if able.get(toolchain.api) else b""


def guard_source(toolchain: Toolchain) -> bytes:
    """What it links beside that into programs with target regions: on a GPU their count, on the x86_64 device what shows missing maps."""
    if toolchain.api != "omp" or not toolchain.llvm.offload:
        return b""
    return b"".join(map(text, OFFLOADED)) + REGISTER.encode() if toolchain.gpu else text("device.cpp")


@functools.cache
def text(name: str) -> bytes:
    return (PROBES / name).read_bytes()


def plain(compiler: str, flags: tuple[str, ...]) -> list[str]:
    """The command that compiles the harness's own texts as this compiler's programs are."""
    return [compiler, *(flag for flag in flags if flag in BASE or flag.startswith("-arch"))]


def objects(toolchain: Toolchain, level: Level, env: dict[str, str], results: bool, guarded: bool) -> tuple[dict[str, bytes], str]:
    """(the texts, and marker.o, for OpenMP proof.o, `guarded` device.o and unified.o, by name; "" or what the compiler said).

    `results`: the marker tells what the device gave back.  device.o is for programs whose device has memory of its own, unified.o for
    those that ask for memory shared with the host.
    """
    command = plain(toolchain.compiler, toolchain.flags)
    texts = {"marker": (b"".join(map(text, MARKER if results else MARKER[:1])), [])}
    if toolchain.api == "omp" and (proof := proof_source(toolchain)):
        texts["proof"] = (proof, [])
        if guarded:
            texts |= {"device": (guard_source(toolchain), []), "unified": (guard_source(toolchain), ["-DUNIFIED"])}
    files = {f"{name}.cpp": source for name, (source, _) in texts.items()}
    steps = (shlex.join([*command, *more, "-c", f"{JOB}/{name}.cpp", "-o", f"{name}.o"]) for name, (_, more) in texts.items())
    found, said = made("\n".join(steps), files, tuple(f"{name}.o" for name in texts), level, toolchain.compiler, toolchain.roots, env)
    return files | found, said


def made(
    script: str, files: dict[str, bytes], outputs: tuple[str, ...], level: Level, compiler: str, roots: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> tuple[dict[str, bytes], str]:  # fmt: skip
    """(all of `outputs` that the script makes of the files, ""), from what is kept where there is some; ({}, what it said) where it fails.

    Only successes are kept; a compiler that is replaced makes them anew.
    """
    facts = [kept_files.stamp(compiler), script, {name: digest(data.hex()) for name, data in files.items()}, env, asdict(level)]
    key = digest(facts)
    if found := MADE.get(key) or kept_files.read(key, outputs):
        MADE[key] = found
        return found, ""
    out = sandbox.run(["/bin/sh", "-ec", script], files, BUILD_LIMITS, level, env=env, outputs=outputs, roots=roots)
    if not all(out.files.get(name) for name in outputs):
        return {}, out.stderr.replace(f"{JOB}/", "").strip() or out.status
    MADE[key] = {name: out.files[name] for name in outputs}
    kept_files.keep(key, MADE[key])
    return MADE[key], ""
