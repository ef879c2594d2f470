"""Did the program run in parallel?  The rule on what the harness counted inside its runs.

Knows counters and thresholds (measured; docs/VERDICTS.md).  Knows nothing of processes, compilers or verdict levels.

OpenMP: CPU time inside regions with more than one thread against the program's own, and, for each phase between two
barriers, the second busiest thread against the busiest.  CUDA: launches that the runtime accepted, and its last error.
Counters that are absent prove nothing: the answer is "unknown".  Counters lie in the judged process: `contradiction` compares them with
what the supervisor read of its threads from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from parallax_lib.sandbox.thread_times import Threads

MIN_COVERAGE = 0.004  # lowest correct program measured on its larger inputs: 0.018
OF_REFERENCE = 0.05  # ... and of the coverage that the kernel's own OpenMP program has
OF_REFERENCE_US = 0.25  # with so much of its CPU time in regions, coverage says nothing
MIN_SHARE = 0.05  # parallel + single: 0.01, by turns 0.02; correct programs: docs/VERDICTS.md
LITTLE_US = 100  # less CPU time than this inside regions proves nothing either way
DEVICE_START_US = 5000  # CPU time that loading the offload device may take
THREADS, LAUNCHES, DEVICE = "OMPT", "CUDA runtime", "CUPTI"
ON_DEVICE = "target regions on the device"
WORDS = frozenset("regions solo team total_us inside_us first_us second_us alone_us idle_us others_us tasks targets".split())
SLACK, SLACK_US, START_US = 1.25, 5000, 50000  # clocks read at other moments; CPU time before the counters start


@dataclass(frozen=True)
class Proof:
    """parallel: yes, no or unknown; `reason` is "" or what the verdict says when a correct program fails for it."""

    parallel: str
    evidence: str
    reason: str = ""


def of_openmp(runs: Sequence[dict[str, str]], expected: float = 0.0, why_not: str = "", expected_us: int = 0) -> Proof:
    """The rule on runs with several threads.  `expected`, `expected_us`: coverage of the kernel's own OpenMP program and its CPU time in
    regions, 0 if unknown.  Little coverage beside as much work in regions as there is serial work that the reference does not have.
    """
    known = [_numbers(run) for run in runs if run.get("runtime") == "libomp"]
    if not known:
        return Proof("unknown", why_not or "no OMPT counters")
    sums = {key: sum(run.get(key, 0) for run in known) for key in known[0]}
    team, inside = max(run["team"] for run in known), sums["inside_us"]
    cover, share = coverage(runs), sums["second_us"] / max(sums["first_us"], 1)
    needed = max(MIN_COVERAGE, OF_REFERENCE * expected)
    summary = f"{THREADS}: {sums['regions']} regions, max team {team}, coverage {cover:.3f}, second thread {share:.2f}"
    summary += f", {sums['targets']} {ON_DEVICE}" if sums["targets"] else ""
    why = ""
    if not sums["regions"] or team < 2:
        why = "no region ran with more than one thread"
    elif cover < needed and not inside >= OF_REFERENCE_US * expected_us > 0:
        why = f"under {needed:.3f} of its CPU time lies inside parallel regions"
    elif inside < LITTLE_US:
        return Proof("unknown", f"{summary}: too little work to tell")
    elif share < MIN_SHARE:
        why = "between barriers one thread does all the work"
    return Proof("no", f"{summary}: {why}", "not_parallel") if why else Proof("yes", summary)


def contradiction(counted: dict[str, str], threads: Threads | None) -> str:
    """What an OpenMP run's counters say that its threads, read from outside the process, do not bear out; "" when they agree.

    Counters lie in the judged process, so they only corroborate.  A kernel that does not tell threads' times contradicts nothing.
    """
    counters = _numbers(counted)
    if counted.get("runtime") != "libomp" or not WORDS <= counters.keys():
        return "the proof line is not the harness's own"
    if threads is None or not threads.total:
        return ""
    total, others = 1e6 * threads.total, 1e6 * (threads.total - threads.first)
    for what, name, measured in (("all threads", "total_us", total), ("threads other than the first", "others_us", others)):
        if counters[name] > SLACK * measured + SLACK_US:
            return f"counters say that {what} used {counters[name]} us, {measured:.0f} us were seen from outside"
    if counters["total_us"] < total / SLACK - START_US:
        return f"counters say that all threads used {counters['total_us']} us, {total:.0f} us were seen from outside"
    return ""


def settled(runs: Sequence[dict[str, str]]) -> bool:
    """Whether all runs with enough work to tell lie on one side of the second thread's bound.

    A busy host can charge a thread with time that it did not work: single runs are off by up to a third now and then.
    """
    counters = [_numbers(run) for run in runs if run.get("runtime") == "libomp"]
    return len({run["second_us"] >= MIN_SHARE * run["first_us"] for run in counters if run["inside_us"] >= LITTLE_US}) < 2


def typical(runs: Sequence[dict[str, str]]) -> dict[str, str]:
    """The counters of several runs of one input as one run's: the median of every number, words as in the first run."""
    same = [run for run in runs if run.keys() == runs[0].keys()]
    numbers = [_numbers(run) for run in same]
    return dict(runs[0]) | {key: str(round(median(run.get(key, 0) for run in numbers))) for key in numbers[0]}


def coverage(runs: Sequence[dict[str, str]]) -> float:
    """CPU time inside parallel regions over the program's own, waits left out; 0 without counters."""
    known = [_numbers(run) for run in runs if run.get("runtime") == "libomp"]
    own = sum(max(run["total_us"] - run["idle_us"] - (DEVICE_START_US if run["targets"] else 0), run["inside_us"]) for run in known)
    return sum(run["inside_us"] - run["alone_us"] for run in known) / own if own > 0 else 0.0


def in_regions(runs: Sequence[dict[str, str]]) -> int:
    """Microseconds of CPU time in regions with more than one thread, all runs together."""
    known = [_numbers(run) for run in runs if run.get("runtime") == "libomp"]
    return sum(run["inside_us"] - run["alone_us"] for run in known)


def of_cuda(runs: Sequence[dict[str, str]], why_not: str = "", unwatched: str | None = "not used") -> Proof:
    """The rule on every run: a failed launch is an error; a run without a launch, or launches of one thread, are not parallel.

    `unwatched`: why CUPTI watched none of them, "" when it did (then what it did not see is not parallel), None where no
    device could be watched.
    """
    known = [_numbers(run) for run in runs if "launches" in run]
    if not known:
        return Proof("unknown", why_not or "no launch counter")
    emulated = any(run.get("emulated") for run in known)
    launches = [run["launches"] for run in known]
    summary = f"{LAUNCHES}{' (emulated)' if emulated else ''}: {min(launches)} to {max(launches)} launches a run"
    error = next(filter(None, map(_cuda_fault, runs)), "")
    if error:
        return Proof("no", f"{summary}, {error}", "cuda_error")
    if not min(launches):
        return Proof("no", f"{summary}: a run launched no kernel", "no_kernel_launch")
    if all(run.get("threads", run["launches"] + 1) <= run["launches"] for run in known):
        return Proof("no", f"{summary}: no launch had more than one thread", "not_parallel")
    if emulated or unwatched is None:
        return Proof("yes", summary)
    if unwatched:
        return Proof("yes", f"{summary}; {DEVICE}: not checked ({unwatched})")
    return _on_device(summary, known, runs[0].get("device_longest", ""))


def of_offloaded(runs: Sequence[dict[str, str]], unwatched: str, elsewhere: bool = False) -> Proof:
    """The rule on OpenMP runs whose target regions may run on a GPU and nowhere else.  `unwatched`: why CUPTI did not watch.

    A program whose regions rightly ask for the host offloads nothing; one whose regions ran on another device (`elsewhere`) has to.
    """
    regions = [run.get("targets", 0) for run in map(_numbers, runs)]
    summary = f"{min(regions)} to {max(regions)} regions a run"
    if elsewhere and not max(regions):
        return Proof("no", f"{summary}: its regions ran on the x86_64 device and not here", "not_parallel")
    if unwatched or not max(regions):
        return Proof("yes", f"{summary}; {DEVICE}: not checked ({unwatched})" if unwatched else summary)
    return _on_device(summary, [_numbers(run) for run in runs], runs[0].get("device_longest", ""))


def _on_device(launched: str, runs: Sequence[dict[str, int]], longest: str) -> Proof:
    """The rule on what CUPTI saw in runs that it watched."""
    kernels, threads = ([run.get(f"device_{what}", 0) for run in runs] for what in ("kernels", "threads"))
    took, copies = (sum(run.get(f"device_{what}", 0) for run in runs) for what in ("us", "copies"))
    summary = f"{launched}; {DEVICE}: {min(kernels)} to {max(kernels)} kernels, {max(threads)} threads a run, {took} us, {copies} copies"
    summary += f", longest {longest}" if longest else ""
    if not max(kernels):
        return Proof("no", f"{summary}: the device ran no kernel of it", "not_parallel")
    if max(threads) <= max(kernels):
        return Proof("no", f"{summary}: no kernel had more than one thread", "not_parallel")
    return Proof("yes", summary)


def _cuda_fault(run: dict[str, str]) -> str:
    """What the runtime refused in one run, "" for nothing; the emulator names errors, the real counter numbers them."""
    if run.get("launch_errors", "0") != "0":
        return f"{run.get('first_error', 'an error')}: a launch was refused or its kernel failed"
    if run.get("overrun", "0") != "0":
        return "something wrote past the end of a block of cudaMalloc"
    left = run.get("last_error", "0")
    return "" if left in ("0", "cudaSuccess") else f"error {left}"


def _numbers(run: dict[str, str]) -> dict[str, int]:
    return {key: int(value) for key, value in run.items() if value.lstrip("-").isdigit()}
