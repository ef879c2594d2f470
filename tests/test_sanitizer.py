"""What is read from compute-sanitizer: RACY (shortened) and NO_THREADS are what it printed on an H200, the others follow their form."""

import pytest

from parallax_lib.verdict.races import sanitizer_says

RACY = """========= COMPUTE-SANITIZER
========= Warning: Race reported between Read access at sum(int *)+0x260 in main.cu:7
=========     and Write access at sum(int *)+0x270 in main.cu:7 [8 hazards]
=========
sum 8826
========= RACECHECK SUMMARY: 7 hazards displayed (2 errors, 5 warnings)
"""
NO_THREADS = """========= COMPUTE-SANITIZER
========= Error: process didn't terminate successfully
========= Target application returned an error
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
terminate called after throwing an instance of 'std::system_error'
  what():  Resource temporarily unavailable
"""
CLEAN = """========= COMPUTE-SANITIZER
sum 32640
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""
FAR = "cudaErrorLaunchFailure\n========= ERROR SUMMARY: 257 errors\n"


@pytest.mark.parametrize("tool, status, said, race_free, told", [
    ("racecheck", "ok", RACY, "no", "7 errors, first at main.cu:7"),
    ("racecheck", "crash", RACY, "no", "7 errors"),
    ("racecheck", "ok", CLEAN, "yes", "none found"),
    ("racecheck", "crash", NO_THREADS, "not checked", "Resource temporarily unavailable"),  # a summary of 0 that says nothing
    ("memcheck", "ok", FAR, "no", "257 errors, first at an unknown line"),
    ("memcheck", "ok", "", "not checked", "it said nothing"),
])  # fmt: skip
def test_a_run_that_ended_badly_found_nothing_only_because_it_ended(tool, status, said, race_free, told):
    got = sanitizer_says(tool, status, said)
    assert got[0] == race_free and told in got[1]
