"""How a compilation ended: refused, over its limits, or not the program's fault.

Knows what compilers and shells say.  Knows nothing of programs' meaning, sandboxes or verdict levels.
"""

from __future__ import annotations

import re

from parallax_lib.sandbox.sandbox import Outcome
from parallax_lib.verdict import emulated_build

KILLED = re.compile(  # in a message of the compiler's, not in a line that it quotes (those are indented)
    r"^(?!\s).*(internal compiler error: (Killed|Segmentation|CPU time|File size)|Killed signal terminated|"
    r"died due to signal|CPU time limit|File size limit|virtual memory exhausted|cannot allocate memory|out of memory|"
    r"No space left on device|Resource temporarily unavailable)",
    re.I | re.M,
)
ABSENT = re.compile(  # headers of a toolkit's or a compiler's own, which no program brings along
    r"fatal error: '?((?:cub|thrust|cuda/std)/\w+\.(?:h|cuh)|cub/\w+/\w+\.cuh|cuda/(?:std/)?\w+|nvtx3/nvToolsExt\.h|omp\.h|"
    r"(?:cublas|cublas_v2|cublasLt|cublasXt|curand|curand_kernel|cufft|cufftXt|cusparse|cusolver\w{2}|cusolver_common|cudnn|nccl|nvml|npp|npp[is]|nvToolsExt|"
    r"nvrtc|cuda|cuda_runtime|cuda_runtime_api|cuda_fp16|cuda_bf16|cuda_fp8|cuda_profiler_api|cuda_pipeline|cupti|mma|math_constants|cuComplex|"
    r"cooperative_groups|device_launch_parameters|vector_types|texture_types)\.h)'?(?:: No such file| file not found)"
)
NO_TOOL = (126, 127)  # the shell's own exit codes: a compiler or one of its tools cannot be started


def reason(out: Outcome, program: str) -> str:
    """ok, compile_error, compile_limit, infra_error, or not_checkable for what this machine lacks; `program`: the file it was to make."""
    if out.status == "ok":
        return "ok" if out.files.get(program) else "infra_error"
    if out.status == "infra_error" or out.returncode in (emulated_build.OURS, *NO_TOOL):
        return "infra_error"
    if out.status != "crash" or KILLED.search(out.stderr):
        return "compile_limit"
    return "not_checkable" if out.returncode == emulated_build.UNABLE or ABSENT.search(out.stderr) else "compile_error"
