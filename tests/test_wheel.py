"""The installed wheel judges and emulates in an empty folder, by the commands and lines that the packages' pages show."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "data" / "minibench" / "src"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's files, and an empty one with three programs to work in."""
    tree, made, site, work = (tmp_path_factory.mktemp(name) for name in ("tree", "wheel", "site", "work"))
    shutil.copytree(ROOT / "parallax_lib", tree / "parallax_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", made, tree], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", site, *made.glob("*.whl")], check=True)
    for name, file in (("serial", "main.cpp"), ("omp", "main.cpp"), ("cuda", "main.cu")):
        (work / f"{'saxpy' if name == 'cuda' else name}.{file[5:]}").write_bytes((SOURCES / f"saxpy-{name}" / file).read_bytes())

    def python(*args: str) -> subprocess.CompletedProcess:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(work)}
        return subprocess.run([sys.executable, *args], cwd=work, env=env, capture_output=True, text=True)

    assert str(site) in python("-c", "import parallax_lib; print(parallax_lib.__file__)").stdout
    return python


def example(package: str) -> str:
    return re.search(r"```python\n(.*?)```", (ROOT / "parallax_lib" / package / "README.md").read_text(), re.S)[1]


def test_judge_prints_one_json_object_whatever_the_verdict(installed):
    asked = ("--source", "serial", "--target", "omp", "--hidden", "100000 7", "--hidden", "5000 3", "--races", "off")
    right, serial = (installed("-m", "parallax_lib", "judge", "serial.cpp", name, *asked) for name in ("omp.cpp", "serial.cpp"))
    assert [run.returncode for run in (right, serial)] == [0, 0], right.stderr + serial.stderr
    right, serial = json.loads(right.stdout), json.loads(serial.stdout)
    assert (right["validated"], right["level"], right["reason"]) == (True, 5, "ok")
    assert (serial["validated"], serial["reason"]) == (False, "not_parallel")
    assert {"parallel", "race_free", "evidence", "log"} <= set(right)


def test_judge_says_in_one_line_why_it_cannot(installed):
    asked = ("--source", "serial", "--target", "omp", "--args", "1000 7")
    for files in (("serial.cpp", "nowhere.cpp"), ("saxpy.cu", "omp.cpp")):  # not there; a reference that does not compile
        run = installed("-m", "parallax_lib", "judge", *files, *asked)
        assert run.returncode == 2 and run.stderr.startswith("parallax: ") and run.stderr.count("\n") == 1, run


def test_emulate_runs_cuda_and_hands_on_the_status(installed):
    numbers = [installed("-m", "parallax_lib", "emulate", "saxpy.cu", "--schedule", s, "--", "1000", "7") for s in "12"]
    assert [run.returncode for run in numbers] == [0, 0] and numbers[0].stdout == numbers[1].stdout
    assert re.match(r"y [\d.e+]+ ", numbers[0].stdout)
    missing = installed("-m", "parallax_lib", "emulate", "nowhere.cu")
    assert missing.returncode == 2 and "nowhere.cu: no such file" in missing.stderr


def test_the_pages_examples_run_as_they_stand(installed):
    judged, emulated = (installed("-c", example(package)) for package in ("verdict", "cuda_emulation"))
    assert judged.returncode == 0 and judged.stdout.startswith("5 ok yes"), judged
    assert emulated.returncode == 0 and emulated.stdout.count("y ") == 2, emulated


def test_the_wheel_holds_the_page_of_view(installed):
    made = installed("-c", "from parallax_lib.analysis.view import page_files as p; print(p.script()[-40:], len(p.style()), p.page()[:15])")
    assert made.returncode == 0 and "export default" in made.stdout and "<!doctype html>" in made.stdout, made.stderr
