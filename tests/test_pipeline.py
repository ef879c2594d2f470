"""What makes a stage run again: the settings its notebook reads, and no others."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.imports import without_grammar_of_iris
from parallax_lib.core.settings import Params
from parallax_lib.core.storage import Journal, read_table, write_table, write_vectors
from parallax_lib.study import collection, pipeline, stages
from parallax_lib.study import run as runs

with without_grammar_of_iris():
    import nbformat

FRAME = pd.DataFrame({"a": [1]})
STAGES = {s.number: s for s in pipeline.stages(report=True)}


def cells(stage) -> str:
    return "\n".join("".join(c["source"]) for c in json.loads(stage.notebook.read_text())["cells"] if c["cell_type"] == "code")


def test_a_setting_that_a_stage_reads_is_part_of_its_key_or_of_an_earlier_one():
    for number, stage in STAGES.items():
        text = cells(stage)
        called = [inspect.getsource(getattr(stages, name)) for name in re.findall(r"\bstages\.(\w+)\(", text)]
        read = set(re.findall(r"\b(?:P|R\.params|run\.params)\.(\w+)\.", "\n".join([text, *called]))) & set(Params.model_fields)
        known = {section for n in STAGES if n <= number for section in pipeline.PART[n]}
        assert read - known == set(), number


@pytest.fixture
def executed(monkeypatch, tmp_path):
    """run(only, **sections) -> numbers of the stages that ran; nothing is computed."""
    ran, fail = [], set()

    def execute(stage, params, folder, key, record, say):
        ran.append(stage.number)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"key": key, "status": "failed" if stage.number in fail else "ok"}))
        record.with_suffix("").with_suffix(".ipynb").touch()

    monkeypatch.setattr(pipeline, "execute", execute)
    monkeypatch.setattr(pipeline, "run_folder", lambda run: tmp_path)

    def run(only="", **sections):
        ran.clear()
        pipeline.run(Params(**sections), only, say=lambda text: None)
        return ",".join(ran)

    run.fail = fail
    return run


def test_a_part_of_the_stages_knows_what_the_others_left(executed):
    changed = {"collect": {"limit": 3}}
    assert executed() == "01,02,03,04,05,06" and executed() == ""
    assert executed("03") == "" and executed("02-03") == ""
    assert executed("01", **changed) == "01"
    assert executed("02", **changed) == "02"  # its own settings are the same, what it reads is not
    assert executed("02", **changed) == "" and executed("03-06", **changed) == "03,04,05,06"
    assert executed(**changed) == ""
    assert executed("07", **changed) == "07" and executed("07", **changed) == ""


def test_a_stage_runs_again_although_one_between_it_and_the_changed_one_did_not(executed):
    changed = {"collect": {"limit": 3}}
    executed()
    assert executed("01", **changed) == "01" and executed("03", **changed) == "03" and executed("06", **changed) == "06"
    assert executed(**changed) == "02,03,04,05,06"


def test_a_stage_that_read_what_a_failed_one_had_left_runs_again(executed):
    changed = {"collect": {"limit": 3}}
    executed()
    executed.fail.add("01")
    assert executed("01", **changed) == "01" and executed("02", **changed) == "02"
    executed.fail.clear()
    assert executed("01", **changed) == "01" and executed("02", **changed) == "02" and executed("02", **changed) == ""


@pytest.mark.parametrize("only, why", [
    ("01,99", "no stage '99'"), ("3-1", "3-1 runs backwards"), ("x", "no stage 'x'"), ("01,", "no stage ''"), ("1-2-3", "no stage '1-2-3'"),
])  # fmt: skip
def test_a_part_of_only_that_names_no_stage_is_refused(executed, tmp_path, only, why):
    with pytest.raises(UserError, match=f"--only {only}: {why}; stages are 01, "):
        executed(only)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", '{"key": "'])
def test_a_record_that_cannot_be_read_is_of_a_stage_that_is_not_done(executed, tmp_path, text):
    executed()
    record = tmp_path / "notebooks" / "02_prm_train.run.json"
    record.write_text(text)
    assert executed("01") == "" and executed() == "02,03,04,05,06" and executed() == ""


@pytest.fixture
def real(monkeypatch, tmp_path):
    """run(only) as `executed` does, by the real `execute` over a notebook runner that writes a table and vectors a stage."""
    ran = []

    def notebook(source, out, **more):
        number = Path(source).name[:2]
        ran.append(number)
        nbformat.write(nbformat.v4.new_notebook(), out)
        if number != "03" or not (tmp_path / "made-03.parquet").exists():  # 03 takes what it made before
            write_table(tmp_path, f"made-{number}", FRAME)
            write_vectors(tmp_path / "prm" / f"{number}.safetensors", np.zeros((1, 1, 2)))

    monkeypatch.setattr("papermill.execute_notebook", notebook)
    monkeypatch.setattr(pipeline, "run_folder", lambda run: tmp_path)

    def run(force=False):
        ran.clear()
        pipeline.run(Params(), force=force, say=lambda text: None)
        return ",".join(ran)

    return run


@pytest.mark.parametrize("name", ["made-05.parquet", "prm/05.safetensors"])
def test_a_stage_whose_result_is_gone_or_cut_short_runs_again(real, tmp_path, name):
    assert real() == "01,02,03,04,05,06" and real() == ""
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    assert real() == "05,06" and real() == ""
    (tmp_path / name).unlink()
    assert real() == "05,06" and real() == ""


def test_a_result_that_a_stage_takes_from_its_earlier_run_still_counts(real, tmp_path):
    real()
    assert real(force=True) == "01,02,03,04,05,06"
    (tmp_path / "made-03.parquet").unlink()
    assert real() == "03,04,05,06"


HOLDER = """
import subprocess, sys
from pathlib import Path
from parallax_lib.core.storage import held
with held(Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(child.pid, flush=True)
    child.wait()
"""


def test_two_runs_on_one_folder_are_refused_until_the_first_is_killed(executed, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "run_folder", lambda run: tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(UserError, match=f"process {holder.pid} is at work here"):
            executed()
        with pytest.raises(UserError, match="is at work here"):
            collection.collect_to(Params(run="held"), tmp_path / "out", {})
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        os.kill(child, 0)  # what it had started is still there
        assert executed() == "01,02,03,04,05,06"
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)


def keys(params: Params) -> dict[str, str]:
    made, before = {}, ""
    for number, stage in STAGES.items():
        made[number] = before = stage.key(params, before)
    return made


@pytest.mark.parametrize("section, value, again", [
    ("search", {"branches": 3}, {"04", "05", "06", "07"}),
    ("prm", {"width": 32}, {"02", "03", "04", "05", "06", "07"}),
    ("report", {"seeds": (0, 1)}, {"03", "04", "05", "06", "07"}),
    ("collect", {"limit": 3}, set(STAGES)),
    ("validation", {"races": "off"}, set(STAGES)),
])  # fmt: skip
def test_a_changed_setting_runs_its_stage_and_all_after_it_again(section, value, again):
    before, after = (keys(p) for p in (Params(), Params(**{section: value})))
    assert {n for n in STAGES if before[n] != after[n]} == again


def test_a_stage_runs_this_checkouts_library_whichever_is_installed(tmp_path, monkeypatch):
    other = tmp_path / "other" / "parallax_lib"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    text = nbformat.v4.new_markdown_cell("## What it means\n[Results](../docs/RESULTS.md)")
    code = nbformat.v4.new_code_cell("import parallax_lib; print(parallax_lib.__path__)")
    notebook = nbformat.v4.new_notebook(cells=[code, text])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "01_x.ipynb")
    stage = pipeline.Stage("01", tmp_path / "01_x.ipynb")
    pipeline.execute(stage, Params(), tmp_path, "key", tmp_path / "notebooks" / "01_x.json", lambda text: None)
    said = (tmp_path / "notebooks" / "01_x.ipynb").read_text()
    assert str(ROOT / "parallax_lib") in said and str(other) not in said
    meaning = nbformat.read(tmp_path / "notebooks" / "01_x.ipynb", 4).cells[-1].source
    linked = Path(tmp_path / "notebooks", re.search(r"\((.*)\)", meaning)[1])
    assert linked.resolve() == (ROOT / "docs" / "RESULTS.md").resolve() and "the outputs above are of run `demo`" in meaning
    assert os.environ["PYTHONPATH"] == str(other.parent)


def stage_of(folder, code):
    """A stage whose notebook has one cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "01_x.ipynb")
    return pipeline.Stage("01", folder / "01_x.ipynb")


def test_a_kernel_that_dies_is_told_in_one_line(tmp_path, monkeypatch):
    """Killed in a cell, as by the system when memory runs out; ended before it answers; not installed."""
    record = tmp_path / "notebooks" / "01_x.json"
    deaths = (
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}, "DeadKernelError"),
        ("1", {"PYTHONHOME": str(tmp_path)}, "Kernel died before replying"),
        ("1", {"kernel_name": "none-such"}, "NoSuchKernel"),
    )
    engine = pipeline._engine()
    for code, change, words in deaths:
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "_engine", lambda change=change: engine | {k: v for k, v in change.items() if k == "kernel_name"})
            if "PYTHONHOME" in change:
                patch.setenv("PYTHONHOME", change["PYTHONHOME"])
            with pytest.raises(UserError) as refused:
                pipeline.execute(stage_of(tmp_path, code), Params(), tmp_path, "key", record, lambda text: None)
        said = str(refused.value)
        assert said.startswith("01_x.ipynb: its Jupyter kernel is dead (") and words in said and "\n" not in said
        assert json.loads(record.read_text())["status"] == "failed"


STOPPED = """
import sys
from pathlib import Path
from parallax_lib import __main__, commands
from parallax_lib.core.settings import Params
from parallax_lib.study import pipeline

def go(args):
    stage, folder = pipeline.Stage("01", Path(sys.argv[1]) / "01_x.ipynb"), Path(sys.argv[1])
    pipeline.execute(stage, Params(), folder, "key", folder / "notebooks" / "01_x.json", lambda text: None)

__main__.commands.run = go
raise SystemExit(__main__.main(["run", "params/tiny.yaml"]))
"""


def test_ctrl_c_while_a_notebook_runs_is_one_line(tmp_path):
    """The signal reaches the command as it does from a terminal, after the notebook's cell has begun."""
    begun = tmp_path / "begun"
    stage_of(tmp_path, f"import os, time; open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    command = [sys.executable, "-c", STOPPED, str(tmp_path)]
    there = os.environ | {"PYTHONPATH": str(ROOT)}
    # A shell without job control lets what it starts in the background ignore SIGINT, these tests included.
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=there, start_new_session=True, preexec_fn=heeded)
    try:
        while not (begun.exists() and begun.read_text()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "parallax: stopped; what was done is kept: run the same command again to go on"
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)  # the notebook's kernel has ended, too


def test_force_forgets_what_the_stages_asked_for_remember_and_nothing_else(monkeypatch, tmp_path):
    written = {"first": {"rows": [{"attempt": 0}]}, "repair": {"rows": [{"attempt": 1}]}}
    kinds = ("chunk", "rollout", "latent_sensitivity", "verdict", "reference", "variation")
    monkeypatch.setattr(pipeline, "execute", lambda *given: None)
    monkeypatch.setattr(pipeline, "run_folder", lambda run: tmp_path)

    def left(only: str, force: bool = True) -> set[str]:
        journal = Journal(tmp_path / "journal.sqlite")
        for kind in kinds:
            journal.put(kind, "a", {})
        journal.put_many("translation", written.items())
        for name in ("prm-gru", "cross_validation"):
            (tmp_path / name).mkdir(exist_ok=True)
        pipeline.run(Params(), only, force, say=lambda text: None)
        made = {f"translation {key}" for key in journal.rows("translation")} | {kind for kind in kinds if journal.rows(kind)}
        return made | {path.name for path in tmp_path.glob("*") if path.name in ("prm-gru", "cross_validation")}

    everything = {*kinds, "translation first", "translation repair", "prm-gru", "cross_validation"}
    judged = {"verdict", "reference"}
    for only, forgotten in {
        "01": {"chunk", "rollout", "latent_sensitivity"} | judged, "02": {"prm-gru"}, "03": {"cross_validation"} | judged,
        "04": {"translation first"}, "05": {"translation repair"} | judged, "06": set(), "07": {"variation"},
        "02-03": {"prm-gru", "cross_validation"} | judged,
    }.items():  # fmt: skip
        assert everything - left(only) == forgotten, only
    assert left("01-07", force=False) == everything


def test_methods_are_translated_without_notebooks_and_without_a_prm_that_none_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stages, "run_folder", lambda run: tmp_path)
    monkeypatch.setattr(runs, "run_folder", lambda run: tmp_path)
    sections = {"translator": {"model": "random"}, "latent": {"steps": 1}, "decode": {"max_new_tokens": 3}}
    search = {"limit": 2, "samples": 1, "sampled": 2, "arms": ["unguided", "redecode", "sampled", "sampled:oracle"]}
    params = Params(run="some", suite={"split": "data/splits/handwritten.yaml"}, search=search, **sections)
    texts = []
    for _ in range(2):  # the second time from the journal
        stages.translate_to(params, {}, judge_them=False)
        texts.append(read_table(tmp_path, "translations"))
    assert "8 programs of 2 tasks" in capsys.readouterr().out
    assert texts[0]["arm"].value_counts().to_dict() == {"sampled_pool": 4, "unguided": 2, "redecode": 2}
    pd.testing.assert_frame_equal(*texts)
    assert not (tmp_path / "results.parquet").exists()
    with pytest.raises(UserError, match="PRM|prm"):  # a guided one needs it, and none was trained
        stages.translate_to(params.model_copy(update={"search": params.search.model_copy(update={"arms": ("guided",)})}), {}, False)
