"""A stored program is built and run again, and what it prints stands beside the reference."""

import pandas as pd
import pytest

from parallax_lib.analysis.view import api, dataset
from parallax_lib.analysis.view.rerun import Workshop
from parallax_lib.core.errors import UserError
from parallax_lib.sandbox import sandbox
from parallax_lib.tasks.task import Kernel, Task
from parallax_lib.verdict import toolchain

SERIAL = """#include <cstdio>
#include <cstdlib>
int main(int argc, char** argv) {
  double s = 0;
  for (int i = 1; i <= atoi(argv[1]); ++i) s += 1.0 / i;
  printf("n %d\\nsum %.12f\\n", atoi(argv[1]), s);
}"""
RIGHT = SERIAL.replace("  for", "#pragma omp parallel for reduction(+:s)\n  for")
NEAR = RIGHT.replace("s);", "s * 1.00001);")
BROKEN = RIGHT.replace("double s = 0;", "")


def workshop() -> Workshop:
    kernel = Kernel("harmonic", "sums", "mine", {"serial": SERIAL, "omp": RIGHT}, ("1000",), (("1500",), ("70000",)))
    task = Task(kernel, "serial", "omp")
    limits = sandbox.Limits(cpu_s=5, wall_s=60, memory_mb=512)
    return Workshop({task.id: task}, toolchain.detect("compile"), sandbox.probe(), limits, {"races": "off", "timing": "off"})


@pytest.mark.slow
def test_outputs_stand_beside_the_reference_and_the_difference_ranks_the_program(tmp_path):
    rows = pd.DataFrame({"task": "harmonic.serial-omp", "code": [RIGHT, NEAR, BROKEN, RIGHT], "arm": "a", "level": 4, "score": None,
                         "reason": ["ok", "wrong_output", "compile_error", "ok"], "parallel": "yes", "log": ""})  # fmt: skip
    rows.loc[3, "task"] = "another.serial-omp"
    view = api.View(dataset.frame_dataset({"results": rows}, tmp_path / "d.json"), workshop=workshop)
    assert view.answer("desk")["rows"][0]["closeness"] is None
    right, near, broken = (view.answer("rerun", {}, {"row": row}) for row in range(3))
    assert right["verdict"]["reason"] == "ok" and right["closeness"] is None
    assert near["verdict"]["reason"] == "wrong_output" and near["closeness"] == pytest.approx(1e-5, rel=1e-3)
    for made, first in ((right, None), (near, 1)):
        assert [case["args"] for case in made["inputs"]] == [["1500"], ["70000"]]
        assert {run["first"] for case in made["inputs"] for run in case["runs"]} == {first}
    assert broken["verdict"]["reason"] == "compile_error" and "error" in broken["build"] and broken["inputs"] == []
    assert view.answer("program", {"row": "1"})["rerun"] == near  # kept
    top = view.answer("desk")["rows"][0]
    assert (top["row"], top["why"]) == (1, "its output is close to the reference")
    with pytest.raises(UserError, match="another.serial-omp: the suite of these settings has no such task"):
        view.answer("rerun", {}, {"row": 3})
