"""What styled forge programs do around their hot functions: take the time, and compare with a serial reference.

Knows clocks of each API and how results are compared.  Knows nothing of output formats or hot functions' strategies.
"""

from __future__ import annotations

from dataclasses import replace

from parallax_lib.tasks.synthetic import host_style, kernel_style
from parallax_lib.tasks.synthetic.codegen import Array, Spec, Stage, function_text, looped
from parallax_lib.tasks.synthetic.habits import Habits

CLOCKS = {  # name -> (before, after)
    "chrono": (["auto start = std::chrono::steady_clock::now();"],
               ["auto stop = std::chrono::steady_clock::now();",
                "double elapsed = std::chrono::duration<double, std::milli>(stop - start).count();"]),
    "clock": (["clock_t start = clock();"], ["double elapsed = 1000.0 * (clock() - start) / CLOCKS_PER_SEC;"]),
    "omp": (["double start = omp_get_wtime();"], ["double elapsed = 1000.0 * (omp_get_wtime() - start);"]),
}  # fmt: skip


def timed(h: Habits, api: str, call, lines: list[str], streams: bool = False) -> list[str]:
    """The lines of main between readings of a clock; `call` writes a CUDA call with its check."""
    if not h.timer:
        return lines
    if api == "cuda" and h.timer == "events" and not streams:
        before = ["  cudaEvent_t start, stop;", *map(call, ("cudaEventCreate(&start)", "cudaEventCreate(&stop)", "cudaEventRecord(start)"))]
        after = [*map(call, ("cudaEventRecord(stop)", "cudaEventSynchronize(stop)")), "  float elapsed = 0;"]
        after += list(map(call, ("cudaEventElapsedTime(&elapsed, start, stop)", "cudaEventDestroy(start)", "cudaEventDestroy(stop)")))
        return [*before, *lines, *after, "  " + _told(h)]
    clock = "omp" if api == "omp" and h.language == "c" else ("clock" if h.language == "c" else "chrono")
    before, after = ([f"  {line}" for line in part] for part in CLOCKS[clock])
    wait = [call("cudaDeviceSynchronize()")] if api == "cuda" else []
    return [*before, *lines, *wait, *after, "  " + _told(h)]


def _told(h: Habits) -> str:
    error = h.summary in ("checksum", "digest")
    if h.language == "c++":
        return f'std::{"cerr" if error else "cout"} << "Kernel time (ms): " << elapsed << std::endl;'
    return f'{"fprintf(stderr, " if error else "printf("}"Kernel execution time: %f (ms)\\n", elapsed);'


def functions(spec: Spec, h: Habits) -> str:
    """The serial functions that give the expected values."""
    if not h.verified:
        return ""
    texts = [function_text(replace(s, holes=s.holes | {"f": name(k)}), "serial", "serial") for k, s in enumerate(spec.stages)]
    return "\n".join(kernel_style.function(text, "serial", h) for text in texts)


def name(k: int) -> str:
    return "reference" + (str(k + 1) if k else "")


def _written(spec: Spec) -> dict[Array, str]:
    """The arrays that functions write, with the names of their expected values."""
    arrays = dict.fromkeys(a for stage in spec.stages for a in stage.written())
    return {a: "expected" + (str(k + 1) if k else "") for k, a in enumerate(arrays)}


def expected(spec: Spec, h: Habits) -> list[str]:
    """The lines of main that compute what is expected, from copies of what the functions write."""
    if not h.verified:
        return []
    lines = []
    for a, copy in _written(spec).items():
        if host_style.is_scalar(h, a):
            lines.append(f"  {a.ctype} {copy} = {a.name};")
        elif host_style.vector(h):
            lines.append(f"  std::vector<{a.ctype}> {copy} = {a.name};")
        else:
            size = f"{host_style.count(a)} * sizeof({a.ctype})"
            new = f"({a.ctype} *)malloc({size})" if h.storage == "malloc" else f"new {a.ctype}[{a.size}]"
            lines += [f"  {a.ctype} *{copy} = {new};", f"  memcpy({copy}, {a.name}, {size});"]
    return lines + [looped(stage, f"  {name(k)}({_arguments(spec, stage, h)});") for k, stage in enumerate(spec.stages)]


def _arguments(spec: Spec, stage: Stage, h: Habits) -> str:
    copies = _written(spec)
    arrays = {a.name: host_style.passed(h, replace(a, name=copies.get(a, a.name))) for a in stage.arrays}
    return ", ".join(arrays.get(value, value) for _, value in stage.params)


def compared(spec: Spec, h: Habits) -> list[str]:
    """The lines of main that compare, and say whether all agrees."""
    if not h.verified:
        return []
    lines = ["  int errors = 0;"]
    for a, copy in _written(spec).items():
        got = host_style.element(h, a, "i")
        expected = host_style.element(h, replace(a, name=copy), "i")
        limit = "1e-3" if a.ctype == "float" else "1e-6"
        differs = f"{got} != {expected}" if a.ctype in host_style.INTS else f"fabs({got} - {expected}) > {limit} * (1.0 + fabs({expected}))"
        loop = "" if host_style.is_scalar(h, a) else f"for (int i = 0; i < {a.size}; i++)\n    "
        lines.append(f"  {loop}if ({differs}) errors++;")
    if h.language == "c++":
        return [*lines, '  std::cout << (errors == 0 ? "PASS" : "FAIL") << std::endl;']
    return [*lines, '  printf("%s\\n", errors ? "FAIL" : "PASS");']


def freed(spec: Spec, h: Habits) -> list[str]:
    """The lines of main that free the expected values."""
    if not h.verified or host_style.vector(h):
        return []
    form = "  free({});" if h.storage == "malloc" else "  delete[] {};"
    return [form.format(copy) for a, copy in _written(spec).items() if not host_style.is_scalar(h, a)]
