"""What no translation has a reason to do: the static gate before a program's build and before its first run.

Knows symbols, sections and preprocessed text.  Knows nothing of outputs, references or verdict levels.

The gate looks for attempts on the harness (its marker, its proof line, its clocks, the OpenMP and CUDA runtimes), not
for wrong results: those show when the program runs.  It reads the object file and the preprocessed text, so comments,
macros and split strings hide nothing.  What a program puts together only at run time is left to the sandbox.
"""

from __future__ import annotations

import re

from parallax_lib.verdict.build import Built

FOREIGN_INCLUDE = re.compile(r'^\s*(?:#|%:)\s*(?:include\w*|embed|import)\s*["<]\s*(?:/|[^">\n]*\.\.)', re.M)
HARNESS_TEXT = re.compile(
    r"no_sanitize|thread_sanitizer|__SANITIZE_|disable_sanitizer|__tsan_|\bompt_start_tool\b|\bparallax_(?:proof|targets|device|seen)\b|\bCUDACPU|\bcudacpu(_|::)"
)
HARNESS_NAMES = re.compile(r"\b(ompt_\w+|parallax_(?:proof|targets|device|seen)|__(?:wrap|real)_\w+|__[tam]san_\w+|AnnotateHappens\w+)\b")
CALLS = frozenset(
    "syscall ptrace dlopen dlmopen dlsym dlvsym dl_iterate_phdr process_vm_readv process_vm_writev mprotect pkey_mprotect "
    "personality execl execle execlp execv execve execvp execvpe execveat fexecve posix_spawn posix_spawnp system popen "
    "_r_debug _DYNAMIC __ehdr_start __executable_start __data_start data_start _edata edata _etext etext _end "
    "__bss_start __preinit_array_start __preinit_array_end __init_array_start __init_array_end __fini_array_start "
    "__fini_array_end parallax_proof ompt_start_tool".split()
)
CLOCKS = frozenset("clock clock_gettime clock_getres gettimeofday time times timespec_get ftime omp_get_wtime omp_get_wtick".split())
HARNESS = frozenset("parallax_proof ompt_start_tool main_marker _start _init _fini __libc_start_main fflush write read exit _exit".split())
RUNTIME = re.compile(
    r"(omp_|ompt_|GOMP_|GOACC_|__kmpc_|__tgt_|kmp_|__cuda|cuda[A-Z]|cu[A-Z][a-z]+[A-Z]|pthread_|_ZNSt6chrono3_V2\d+\w+_clock3nowEv$)"
)
FUNCTION = re.compile(r"^(?:[0-9a-f]+ +)([TWi]) (\S+)$", re.M)
NEEDED = re.compile(r"^ *[Uwv] (\S+)$", re.M)
SECTION = re.compile(r"^@section (\.preinit_array\S*|\.interp|\.note\.gnu\.property\.\S+|\.dynamic)$", re.M)
SYSTEM_CALL = re.compile(r"^@instruction (syscall|sysenter|int +\$0x80|svc)\b", re.M)
LINE_MARKER = re.compile(r'^# \d+ "([^"]*)"')
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"(?:\s*"((?:[^"\\\n]|\\.)*)")*')
PIECE = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
OWN_MEMORY = re.compile(r"/proc/(self|thread-self|[0-9%])|/proc/$")
MARKER_TEXT = re.compile(r"@(end|proof)\b")
BY_ASSEMBLER = re.compile(r"\.(incbin|include)\b|\.preinit_array")
FILES = re.compile(r"^/(proc|dev|etc|sys|work|tmp|job|home|root|var)/|(^|/)marker\.(cpp|o)$")
NO_STRINGS = re.compile(r"\b(ifunc)\b")


def unfit(code: str) -> str:
    """Why a program's text is not even compiled, "" when it may be: what it names would change how it is built."""
    if FOREIGN_INCLUDE.search(code.replace("\\\n", "")):
        return "an #include names a file by absolute path or through .."
    return "the program names a sanitizer, the emulator or the harness's own tools" if HARNESS_TEXT.search(code) else ""


def suspicion(built: Built, code: str) -> str:
    """Why a built program is suspected of working on the harness, "" when nothing speaks for it.

    `code` stands in where the compiler gave no preprocessed text (nvcc): then comments count as text.
    """
    return _symbols(built.symbols) or _text(built.source or code)


def _symbols(symbols: str) -> str:
    """From nm and, where the build gives them, `@section NAME` and `@instruction TEXT` lines of the object file."""
    if named := HARNESS_NAMES.search(symbols):
        return f"the object code names the harness's own {named[0]}"
    for name in NEEDED.findall(symbols):
        if name in CALLS:
            return f"it refers to {name}, which no translation needs"
    for kind, name in FUNCTION.findall(symbols):
        plain = name.partition("@")[0]
        if plain in HARNESS or plain in CLOCKS or RUNTIME.match(plain):
            return f"it defines {plain}, which belongs to the system, a runtime or the harness"
        if kind == "i" and not plain.startswith("_Z"):
            return f"it resolves {plain} before any other code runs"
    found = SECTION.search(symbols) or SYSTEM_CALL.search(symbols)
    return f"its object code holds {found.group(1)}" if found else ""


def _text(source: str) -> str:
    """From the program's own lines: those that line markers do not give to an included file."""
    own, files = _own_lines(source)
    for name in files:
        if FILES.search(name):
            return f"it includes {name}"
    for match in STRING.finditer(own):
        text = "".join(PIECE.findall(match.group()))
        if OWN_MEMORY.search(text):
            return "a string names another view of a process in /proc"
        if MARKER_TEXT.search(text):
            return "a string holds the harness's own marker"
        if BY_ASSEMBLER.search(text):
            return "assembly text includes a file or a preinit section"
    found = NO_STRINGS.search(PIECE.sub('""', own))
    return f"it uses {found.group(1)}, which runs code before all other" if found else ""


def _own_lines(source: str) -> tuple[str, set[str]]:
    """(text of the program's file alone, names of all files in it)."""
    if not re.search(LINE_MARKER.pattern, source, re.M):
        return source, set()
    kept, files, mine, main = [], set(), True, None
    for line in source.splitlines():
        marker = LINE_MARKER.match(line)
        if marker:
            main = main or marker.group(1)
            files.add(marker.group(1))
            mine = marker.group(1) == main
        elif mine:
            kept.append(line)
    return "\n".join(kept), files
