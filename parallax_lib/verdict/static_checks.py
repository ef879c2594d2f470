"""What no translation has a reason to do: the static gate before a program's build and before its first run.

Knows symbols, sections and preprocessed text.  Knows nothing of outputs, references or verdict levels.

The gate looks for attempts on the harness (its marker, its proof line, its clocks, the OpenMP and CUDA runtimes), not
for wrong results: those show when the program runs.  It reads the object file and the preprocessed text, so comments,
macros and split strings hide nothing.  What a program puts together only at run time is left to the sandbox.
"""

from __future__ import annotations

import functools
import platform
import re

from parallax_lib.core.cpp_text import strings, without_comments, without_strings
from parallax_lib.verdict import own_text
from parallax_lib.verdict.build import Built
from parallax_lib.verdict.harness import PROBES

FOREIGN_INCLUDE = re.compile(r'^[ \t]*(?:#|%:)\s*(?:include\w*|embed|import)\s*["<](?:\s*/|[^">\n]*\.\.)', re.M)
OURS = r"parallax_(?:proof|targets|device|seen|giving|given|shared|results)"
HARNESS_TEXT = re.compile(rf"__tsan_|\bompt_start_tool\b|\b{OURS}\b|\bCUDACPU|\bcudacpu(_|::)")
# A comment may name a sanitizer.  The attribute no_sanitize is allowed unless it is redefined: the race stage takes it away (races.SEEN).
SANITIZER = re.compile(
    r"thread_sanitizer|\b__[a-z]*san(?:itizer)?_|__SANITIZE_|^[ \t]*(?:#|%:)[ \t]*(?:define|undef)\b[^\n]*(?:no|disable)_sanitize", re.M
)
HARNESS_NAMES = re.compile(rf"\b(ompt_\w+|{OURS}|__(?:wrap|real)_\w+|__[a-z]*san(?:itizer)?_\w+|AnnotateHappens\w+)\b")
CALLS = frozenset(
    "syscall ptrace dlopen dlmopen dlsym dlvsym dl_iterate_phdr process_vm_readv process_vm_writev mprotect pkey_mprotect "
    "personality execl execle execlp execv execve execvp execvpe execveat fexecve posix_spawn posix_spawnp system popen "
    "fork vfork _Fork __fork __vfork __libc_fork clone __clone daemon forkpty "
    "_r_debug _DYNAMIC __ehdr_start __executable_start __data_start data_start _edata edata _etext etext _end "
    "__bss_start __preinit_array_start __preinit_array_end __init_array_start __init_array_end __fini_array_start "
    "__fini_array_end parallax_proof ompt_start_tool".split()
)
CLOCKS = frozenset("clock clock_gettime clock_getres gettimeofday time times timespec_get ftime omp_get_wtime omp_get_wtick".split())
HARNESS = frozenset(
    "parallax_proof ompt_start_tool main_marker _start _init _fini __libc_start_main fflush write read exit _exit "
    "snprintf vsnprintf dladdr dlsym atexit strncmp strcmp strlen memset sched_yield".split()
)
RUNTIME = re.compile(r"(ompt_|GOMP_|GOACC_|__kmpc_|__tgt_|__cuda|_ZNSt6chrono3_V2\d+\w+_clock3nowEv$)")
VARIANT = re.compile(r"(_v\d+)?(_ptsz|_ptds)?_?$")  # of one function of CUDA, or of OpenMP for Fortran
FUNCTION = re.compile(r"^(?:[0-9a-f]+ +)([TWi]) (\S+)$", re.M)
LOCAL = re.compile(r"^(?:[0-9a-f]+ +)([TtWw]) (\S+)$", re.M)
NEEDED = re.compile(r"^ *[Uwv] (\S+)$", re.M)
SECTION = re.compile(r"^@section (\.preinit_array\S*|\.interp|writable-and-executable|\.note\.gnu\.property\.\S+|\.dynamic)$", re.M)
SYSTEM_CALL = re.compile(r"^@instruction (syscall|sysenter|int +\$0x80|svc)\b", re.M)
MARKED = re.compile(r'^# \d+ "[^"\n]*"[ \d]*$', re.M)
OWN_MEMORY = re.compile(
    r"/proc/(?!(?:self|%[a-z]+)/(?:status|stat|statm|limits|cgroup|schedstat)$)(?:self|thread-self|[0-9%])|/proc/$"
)
MARKER_TEXT = re.compile(r"(?:^|\\[nrf]|\\0?1[245]|\\x0[acdACD])[ \t]*@(?:end|proof)[ \t]*(?:\\|$|%|[0-9a-fA-F]{8})", re.M)
BY_ASSEMBLER = re.compile(r"\.(?:incbin|include)\b|gnu_indirect_function|gnu_ifunc", re.I)
PREINIT = re.compile(r"\.preinit_array")
ASSEMBLER = re.compile(r"\b(?:asm|__asm|__asm__)\b")
FILES = re.compile(r"^/(proc|dev|etc|sys|work|tmp|job|home|root|var)/|(^|/)marker\.(cpp|o)$")
ATTRIBUTE = re.compile(r"\b__attribute(?:__)?\s*\(|\[\s*\[")
IFUNC = re.compile(r"\b_*ifunc_*\s*\(")
SYSTEM_CALLS = re.compile(r"\bsyscall\b(?:\s*\(\s*(long int __sysno|\w+)\s*[,)])?")
ASKING = "gettid getpid getppid getcpu sched_yield sched_getaffinity getrandom".split()  # system calls that change nothing
HARMLESS = frozenset(f"{prefix}{name}" for name in ASKING for prefix in ("SYS_", "__NR_"))
NUMBERS = {"x86_64": "186 39 110 309 24 204 318", "aarch64": "178 172 173 168 124 123 278"}


def unfit(code: str) -> str:
    """Why a program's text is not even compiled, "" when it may be: what it names would change how it is built."""
    joined = without_comments(code.replace("\\\n", ""))
    if FOREIGN_INCLUDE.search(joined):
        return "an #include names a file by absolute path or through .."
    if own_text.PRETENDED.search(joined):
        return "a line marker gives lines of the program to another file"
    named = HARNESS_TEXT.search(code) or SANITIZER.search(joined)
    return "the program names a sanitizer, the emulator or the harness's own tools" if named else ""


def suspicion(built: Built, code: str) -> str:
    """Why a built program is suspected of working on the harness, "" when nothing speaks for it.

    `code` stands in where the compiler gave no preprocessed text (nvcc): then comments count as text.
    """
    return _symbols(built.symbols, built.source or code) or _text(built.source or code)


def _symbols(symbols: str, source: str) -> str:
    """From nm and, where the build gives them, `@section NAME` and `@instruction TEXT` lines of the object file."""
    if named := HARNESS_NAMES.search(symbols):
        return f"the object code names the harness's own {named[0]}"
    for name in NEEDED.findall(symbols):
        if name.partition("@")[0] in CALLS and not (name == "syscall" and _only_asks(source)):  # a version is part of the name
            return f"it refers to {name}, which no translation needs"
    defined = FUNCTION.findall(symbols)
    local = {name for _, name in LOCAL.findall(symbols)}
    for kind, name in defined:
        plain = name.partition("@")[0]
        if plain in HARNESS or plain in CLOCKS or RUNTIME.match(plain) or {plain, VARIANT.sub("", plain)} & _runtime_names():
            return f"it defines {plain}, which belongs to the system, a runtime or the harness"
        if kind == "i" and not _is_clone(plain, local):
            return f"it resolves {plain} before any other code runs"
    found = SECTION.search(symbols) or SYSTEM_CALL.search(symbols)
    return f"its object code holds {found.group(1)}" if found else ""


@functools.cache
def _runtime_names() -> frozenset[str]:
    """Functions that OpenMP's and CUDA's runtimes, CUDA's driver and POSIX threads export, without variants."""
    return frozenset((PROBES / "runtime_names.txt").read_text().split())


def _is_clone(name: str, symbols: set[str]) -> bool:
    """Whether an indirect function is one of target_clones: its resolver is the compiler's, and its default version lies beside it."""
    return f"{name}.resolver" in symbols and any(f"{name}.default{end}" in symbols for end in ("", ".0", ".1", ".2"))


def _only_asks(source: str) -> bool:
    """Whether every mention of `syscall` is a call with the constant number of a system call that changes nothing."""
    numbers = HARMLESS | set(NUMBERS.get(platform.machine(), "").split())
    plain = without_strings(MARKED.sub("", source))  # a macro of a system header stands between markers
    asked = [number for number in SYSTEM_CALLS.findall(plain) if number != "long int __sysno"]
    by_name = re.search(r"\bdefine\s+(?:SYS|__NR)_", source) or "syscall" in strings(source)
    return bool(asked) and numbers.issuperset(asked) and not by_name


def _text(source: str) -> str:
    """From the program's own lines: those that line markers do not give to an included file."""
    lines, files = own_text.own_lines(source)
    own = "\n".join(line for _, line in lines)
    for name in files:
        if FILES.search(name):
            return f"it includes {name}"
    plain = without_strings(own)
    assembler = ASSEMBLER.search(plain)
    for text in strings(own):
        if OWN_MEMORY.search(text):
            return "a string names another view of a process in /proc"
        if MARKER_TEXT.search(text):
            return "a string holds the harness's own marker"
        if PREINIT.search(text) or (assembler and BY_ASSEMBLER.search(text)):
            return "assembly text includes a file or a preinit section"
    return "it uses ifunc, which runs code before all other" if _has_ifunc(plain) else ""


def _has_ifunc(plain: str) -> bool:
    """Whether an attribute ifunc stands in text without strings; a function of that name is none."""
    parts = ((part, ATTRIBUTE.search(part)) for part in re.split("[;{}]", plain))
    return any(begun and IFUNC.search(part, begun.end()) for part, begun in parts)
