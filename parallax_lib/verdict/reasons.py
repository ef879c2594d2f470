"""Every reason that a verdict can give, in the order in which the rules are tried, and what it says in one line.

Knows words only.  docs/VERDICTS.md holds the rule, the threshold and the measurement behind each.
"""

REASONS = {
    "no_code": "the answer holds no program",
    "infra_error": "a failure on our side: no verdict, never remembered, in no rate",
    "not_checkable": "nothing here can decide: a compiler, a device or numbers to compare are missing; in no rate",
    "compile_limit": "the compiler broke its limits, or the source is over 1 MiB",
    "cheat_suspected": "the program reaches for what is not its own: foreign files, the harness, a sanitizer",
    "compile_error": "the program does not compile or link",
    "not_parallel": "right, or not run, but no OpenMP region shares its work among threads",
    "no_kernel_launch": "no kernel is in the program, or a run launched none",
    "crash": "a run ended with a signal or a non-zero exit code",
    "timeout": "a run used more CPU time than its limit",
    "memory_limit": "a run's process tree used more memory than its limit",
    "process_limit": "a run wanted more processes and threads than its limit",
    "output_limit": "a run printed, or wrote to files, more than its limit",
    "incomplete": "a run ended without returning from main or calling exit",
    "cuda_error": "a launch failed, or an error was left at the end, whatever the program said of it",
    "nondeterministic": "runs of one input differ, or differ with the number of threads",
    "wrong_output": "the printed data differ from the reference's",
    "race": "right output, but the race stage saw a data race or an invalid access",
    "ok": "validated: every part that was checked holds",
}
UNKNOWN = ("not_checkable", "infra_error")  # no verdict: never a score, listed apart, in no rate
BY_ITS_RUNS = ("no_kernel_launch", "cuda_error", "nondeterministic")  # level 3 or 4, yet told by a program's own runs alone
