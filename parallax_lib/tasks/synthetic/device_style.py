"""CUDA host code of a styled forge program: memory, checks, launches, as an author's habits have it.

Knows the runtime's calls.  Knows nothing of output, arguments or what kernels do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from parallax_lib.tasks.synthetic import host_style
from parallax_lib.tasks.synthetic.codegen import Array, Spec, Stage, launch_parts, looped, own_none
from parallax_lib.tasks.synthetic.habits import Habits
from parallax_lib.tasks.synthetic.patterns import expand, option_of, patterns

MACRO = r"""#define {0}(call)                                                  \
  do {{                                                              \
    cudaError_t err_ = (call);                                      \
    if (err_ != cudaSuccess) {{                                      \
      fprintf(stderr, "CUDA error at %s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(err_)); \
      exit(1);                                                      \
    }}                                                               \
  }} while (0)

"""
ASSERT = r"""#define {0}(ans) gpu_assert((ans), __FILE__, __LINE__)
inline void gpu_assert(cudaError_t code, const char *file, int line) {{
  if (code != cudaSuccess) {{
    fprintf(stderr, "GPUassert: %s %s %d\n", cudaGetErrorString(code), file, line);
    exit(code);
  }}
}}

"""
FUNCTION = r"""static void {0}(cudaError_t status, const char *what) {{
  if (status != cudaSuccess) {{
    fprintf(stderr, "%s failed: %s\n", what, cudaGetErrorString(status));
    exit(EXIT_FAILURE);
  }}
}}

"""
FORMS = {"macro": MACRO, "check": ASSERT, "function": FUNCTION}


@dataclass(frozen=True)
class Device:
    """A program with the habits of its CUDA text."""

    spec: Spec
    habits: Habits
    plan: tuple[str, ...]

    def call(self, text: str) -> str:
        """A runtime call as a statement, with its check."""
        h = self.habits
        if not h.check:
            return f"  {text};"
        what = f', "{text.split("(")[0]}"' if h.check_form == "function" else ""
        return f"  {h.check}({text}{what});"

    def name(self, array: str) -> str:
        return array if self.habits.memory == "managed" else "d_" + array

    def bytes(self, array: Array) -> str:
        return "bytes" if self.one_size() else f"{host_style.count(array)} * sizeof({array.ctype})"

    def copy(self, to: str, given: str, array: Array, kind: str) -> str:
        """A copy between host and device."""
        if self.streams():
            return self.call(f"cudaMemcpyAsync({to}, {given}, {self.bytes(array)}, {kind}, stream)")
        return self.call(f"cudaMemcpy({to}, {given}, {self.bytes(array)}, {kind})")

    def streams(self) -> bool:
        return self.habits.stream and self.habits.memory == "pinned"

    def one_size(self) -> bool:
        """Whether a variable can hold the number of bytes of every array."""
        arrays = self.spec.arrays()
        return len(arrays) > 1 and len({(a.size, a.ctype) for a in arrays}) == 1 and self.habits.sizes != "number"


def before_main(h: Habits, text: str) -> str:
    """What stands before a CUDA program's functions: the check, the block size, rounding up."""
    parts = [FORMS[h.check_form].format(h.check)] if h.check else []
    if h.sizes == "constant":
        line = f"#define BLOCK_SIZE {h.block}" if h.language == "c" else f"constexpr int BLOCK_SIZE = {h.block};"
        parts += [line + "\n\n"] if "BLOCK_SIZE" in text else []
    if "ceil_div(" in text:
        parts.append("static int ceil_div(int a, int b) { return (a + b - 1) / b; }\n\n")
    return "".join(parts)


def allocate(d: Device) -> list[str]:
    """The device arrays; for managed memory, before main fills them."""
    lines = []
    if d.one_size():
        first = d.spec.arrays()[0]
        lines.append(f"  size_t bytes = {host_style.count(first)} * sizeof({first.ctype});")
    cast = "(void **)" if d.habits.language == "c" else ""
    function = "cudaMallocManaged" if d.habits.memory == "managed" else "cudaMalloc"
    groups: dict[str, list[str]] = {}
    for a in d.spec.arrays():
        groups.setdefault(a.ctype, []).append("*" + d.name(a.name))
    lines += [f"  {ctype} {', '.join(names)};" for ctype, names in groups.items()]
    return lines + [d.call(f"{function}({cast}&{d.name(a.name)}, {d.bytes(a)})") for a in d.spec.arrays()] + (
        _zero(d) if d.habits.memory == "managed" else [])


def _zero(d: Device) -> list[str]:
    """Managed or pinned arrays that nothing fills."""
    todo = [a for a in d.spec.arrays() if not host_style.filled(a) and not host_style.is_scalar(d.habits, a)]
    return [f"  memset({a.name}, 0, {host_style.count(a)} * sizeof({a.ctype}));" for a in todo]


def pinned(d: Device) -> list[str]:
    """Host arrays in memory that the device reads directly."""
    lines = []
    for a in d.spec.arrays():
        if host_style.is_scalar(d.habits, a):
            lines.append(f"  {a.ctype} {a.name} = 0;")
        else:
            cast = "(void **)" if d.habits.language == "c" else ""
            call = f"cudaMallocHost({cast}&{a.name}, {host_style.count(a)} * sizeof({a.ctype}))"
            lines += [f"  {a.ctype} *{a.name};", d.call(call)]
    return lines + _zero(d)


def copy_in(d: Device) -> list[str]:
    read = {a for s in d.spec.stages for a, x in zip(s.arrays, s.specs(), strict=True) if x.use != "out"}
    lines = ["  cudaStream_t stream;", d.call("cudaStreamCreate(&stream)")] if d.streams() else []
    for a in d.spec.arrays():
        if a in read and d.habits.zeroed and not host_style.filled(a):
            name, more = ("cudaMemsetAsync", ", stream") if d.streams() else ("cudaMemset", "")
            lines.append(d.call(f"{name}({d.name(a.name)}, 0, {d.bytes(a)}{more})"))
        elif a in read:
            given = host_style.passed(d.habits, a)
            lines.append(d.copy(d.name(a.name), given, a, "cudaMemcpyHostToDevice"))
    return lines


def copy_back(d: Device) -> list[str]:
    if d.habits.memory == "managed":
        return [] if d.habits.after in ("sync", "both") else [d.call("cudaDeviceSynchronize()")]
    back = [s for s, word in zip(d.spec.stages, d.plan, strict=True) if word != "none" or own_none(s)]
    kept = [a for stage in back for a in stage.written()]
    lines = [d.copy(host_style.passed(d.habits, a), d.name(a.name), a, "cudaMemcpyDeviceToHost") for a in kept]
    return lines + [d.call("cudaStreamSynchronize(stream)")] * d.streams()


def free(d: Device) -> list[str]:
    lines = [d.call(f"cudaFree({d.name(a.name)})") for a in d.spec.arrays()]
    lines += [d.call("cudaStreamDestroy(stream)")] * d.streams()
    if d.habits.memory == "pinned":
        lines += [d.call(f"cudaFreeHost({a.name})") for a in d.spec.arrays() if not host_style.is_scalar(d.habits, a)]
    return lines if d.habits.memory != "copy" else lines + host_style.free(d.spec, d.habits)


def launches(d: Device) -> list[str]:
    lines = ["  const int threads = " + ("BLOCK_SIZE;" if d.habits.sizes == "constant" else f"{d.habits.block};")]
    rows = [x for k in range(len(d.spec.stages)) for x in _launch(d, k)]
    return (lines if any(re.search(r"\bthreads\b", row) for row in rows) else []) + rows


def _launch(d: Device, k: int) -> list[str]:
    stage, word = d.spec.stages[k], d.plan[k]
    grid, extras = launch_parts(option_of(patterns()[stage.pattern], "cuda", word).launch)
    arguments = _managed(d, expand(extras["args"], stage.main_holes)) if "args" in extras else _arguments(d, stage)
    arguments += f", {extras['plus']}" if "plus" in extras else ""
    before, configuration = _configuration(d, expand(grid, stage.main_holes), k, "loop" in extras or bool(stage.loop))
    configuration = configuration.replace(">>>", ", 0, stream>>>") if d.streams() else configuration
    call = f"{stage.func}{configuration}({arguments});"
    after = {"none": "", "last": "cudaGetLastError()", "sync": "cudaDeviceSynchronize()", "both": "cudaGetLastError()"}[d.habits.after]
    checks = [d.call(after)] if after and (d.habits.check or "Sync" in after) else []
    checks += [d.call("cudaDeviceSynchronize()")] if d.habits.after == "both" else []
    text = f"  {extras['loop']}\n    {call}" if "loop" in extras else f"  {call}"
    return [*before, looped(stage, expand(text, stage.main_holes)), *checks]


def _arguments(d: Device, stage: Stage) -> str:
    names = {a.name for a in stage.arrays}
    return ", ".join(d.name(value) if value in names else value for _, value in stage.params)


def _managed(d: Device, text: str) -> str:
    for a in d.spec.arrays():
        text = re.sub(rf"\bd_{a.name}\b", d.name(a.name), text)
    return text


def _configuration(d: Device, grid: str, k: int, in_loop: bool) -> tuple[list[str], str]:
    """(lines before the launch, the launch's <<<...>>>)."""
    h, number = d.habits, "" if k == 0 else str(k + 1)
    if grid.startswith("over ") and " x " in grid:
        rows, columns = grid[5:].split(" x ")
        x, y = plane(d.plan[k], d.spec.stages[k], h)
        shape, block = f"({_over(h, columns, x)}, {_over(h, rows, y)})", f"({x}, {y})"
        if h.sizes in ("dim3", "variable", "constant") and not in_loop:
            return [f"  dim3 block{number}{block};", f"  dim3 grid{number}{shape};"], f"<<<grid{number}, block{number}>>>"
        return [], f"<<<dim3{shape}, dim3{block}>>>"
    size = {"variable": "threads", "constant": "BLOCK_SIZE"}.get(h.sizes, str(h.block))
    if grid.startswith("over "):
        blocks = _over(h, grid[5:], size)
        if in_loop or h.sizes in ("number", "constant", "helper"):
            return [], f"<<<{blocks}, {size}>>>"
        if h.sizes == "dim3":
            return [f"  dim3 block{number}({size});", f"  dim3 grid{number}({blocks});"], f"<<<grid{number}, block{number}>>>"
        return [f"  int blocks{number} = {blocks};"], f"<<<blocks{number}, {size}>>>"
    if grid.startswith("blocks "):
        return [], f"<<<{grid[7:]}, {size}>>>"
    return [], f"<<<1, {size}>>>" if grid == "single" else grid


def plane(word: str, stage: Stage, h: Habits) -> tuple[int, int]:
    """The two-dimensional block; 16 x 16 where the kernel's text counts on it."""
    text = option_of(patterns()[stage.pattern], "cuda", word).text
    return (16, 16) if "16" in text else h.plane


def _over(h: Habits, size: str, block: int | str) -> str:
    if h.sizes == "helper":
        return f"ceil_div({size}, {block})"
    more = str(block - 1) if isinstance(block, int) else (str(int(block) - 1) if block.isdigit() else f"{block} - 1")
    return f"({size} + {more}) / {block}"
