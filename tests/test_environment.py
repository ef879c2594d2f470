"""pyproject.toml is the one list of dependencies; the lock, environment.yml and the scripts must agree with it."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in LOCK)}
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
PIP = next(d["pip"] for d in CONDA if isinstance(d, dict))
INSTALLED_EXTRAS = {"dask", "modal", "test"}  # what environment.yml and scripts/venv.sh install


def declared(extras):
    return [Requirement(text) for text in PROJECT["dependencies"] + sum((EXTRAS[e] for e in sorted(extras)), [])]


def closure(requirements):
    """Every package that `requirements` bring in, by what the installed ones say they need: name -> requirements."""
    needed, todo, seen = {}, list(requirements), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        needed.setdefault(name, []).append(requirement)
        if (name, *sorted(requirement.extras)) in seen:
            continue
        seen.add((name, *sorted(requirement.extras)))
        for text in distribution(name).requires or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": e}) for e in requirement.extras or {""}):
                todo.append(child)
    return needed


def test_the_lock_holds_nothing_but_exact_versions():
    assert [line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    assert len(PINS) == len(LOCK)
    assert sorted(LOCK, key=str.lower) == LOCK


def test_the_lock_pins_each_declared_dependency_inside_its_range():
    for requirement in declared(EXTRAS):
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_lock_pins_everything_that_gets_installed():
    needed = closure(declared(INSTALLED_EXTRAS))
    assert sorted(needed.keys() - PINS.keys() - {"pip"}) == []
    outside = [
        str(r) for name, rs in needed.items() for r in rs if name in PINS and not r.specifier.contains(PINS[name])
    ]
    assert outside == []


def test_the_lock_installs_on_the_oldest_python():
    """Where a pin asks for a newer one, pip says no more than that versions conflict."""
    oldest = PROJECT["requires-python"].removeprefix(">=").split(",")[0]
    asked = {name: distribution(name).metadata.get("Requires-Python") for name in closure(declared(INSTALLED_EXTRAS)) if name in PINS}
    assert len(asked) > 100
    assert [f"{name} {wanted}" for name, wanted in asked.items() if wanted and not SpecifierSet(wanted).contains(oldest)] == []


def test_conda_installs_python_and_pip_and_pip_the_project():
    conda = [d for d in CONDA if isinstance(d, str)]
    assert {re.split(r"[=<> ]", d)[0] for d in conda} == {"python", "pip"}
    python = SpecifierSet(next(d for d in conda if d.startswith("python")).removeprefix("python"))
    asked = SpecifierSet(PROJECT["requires-python"])
    releases = [f"3.{minor}.{patch}" for minor in (10, 11, 12, 13) for patch in range(20)]
    assert [r for r in releases if r in python] and all(r in asked for r in releases if r in python)
    assert PIP == ["-c constraints.txt", "-e .[dask,modal,test]"]


def test_the_scripts_install_what_environment_yml_does():
    script = (ROOT / "scripts" / "venv.sh").read_text()
    (install,) = [line for line in script.splitlines() if "pip install" in line]
    assert set(re.search(r"-e '\.\[(.*)\]'", install)[1].split(",")) == INSTALLED_EXTRAS <= set(EXTRAS)
    assert "-c constraints.txt" in install
    assert set(re.search(r"\[(.*)\]", PIP[1])[1].split(",")) == INSTALLED_EXTRAS


@pytest.mark.parametrize("missing, package", [("g++", "g++"), ("bwrap", "bubblewrap")])
def test_a_missing_system_package_is_named_in_one_line(tmp_path, missing, package):
    """On a PATH with all that the script needs but `missing`; the repository is a copy, so nothing is installed."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "venv.sh").write_text((ROOT / "scripts" / "venv.sh").read_text())
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in {"g++", "bwrap", "python3.11"} - {missing}:
        (bin_folder / tool).write_text("#!/bin/sh\n")
        (bin_folder / tool).chmod(0o755)
    (bin_folder / "dirname").symlink_to("/usr/bin/dirname")
    command = ["/bin/sh", str(tmp_path / "scripts" / "venv.sh")]
    done = subprocess.run(command, env={"PATH": str(bin_folder)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("parallax: missing system packages; on Debian or Ubuntu: sudo apt-get install")
    assert package in done.stderr.split("install")[1].split() and done.stderr.count("\n") == 1
    assert not (tmp_path / ".venv").exists()


def test_an_older_python_is_refused_in_one_line(tmp_path):
    """Its re misreads printed numbers; one of the system's that is too old stands here for Debian 12's."""
    script = (ROOT / "scripts" / "venv.sh").read_text()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "venv.sh").write_text(script.replace("(3, 11, 5) <=", f"{sys.version_info[:2]} + (99,) <="))
    for name in ("python3.11", "python3.12", "python3"):
        (tmp_path / name).symlink_to(sys.executable)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", tmp_path / "scripts" / "venv.sh"], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("parallax: Python 3.11.5 to 3.12 is missing") and "(3, 11, 5) <=" in script
    assert PROJECT["requires-python"] == ">=3.11.5,<3.13" and not (tmp_path / ".venv").exists()


def test_ci_runs_the_readme_s_test_command():
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    shown = re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert {"demo", "test"} <= set(shown) <= set(targets)


def test_the_list_of_modules_is_todays():
    told = subprocess.run([sys.executable, ROOT / "scripts" / "modules_page.py"], capture_output=True, text=True, check=True).stdout
    assert told == (ROOT / "docs" / "MODULES.md").read_text(), "python scripts/modules_page.py > docs/MODULES.md"
    library = {path.stem for path in (ROOT / "parallax_lib").rglob("*.py")} - {"__init__", "__main__"}
    assert set(re.findall(r"^\| `(\w+)`", told, re.M)) == library


def test_every_file_that_a_page_names_is_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("data/*/README.md"), *ROOT.glob("parallax_lib/*/README.md")]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"\b(?:parallax_lib|scripts|params|docs)/[\w/]+\.(?:py|cpp|h|yaml|md|sh)\b", page.read_text())
    }
    assert len(named) > 20 and {(page, path) for page, path in named if not (ROOT / path).exists()} == set()
