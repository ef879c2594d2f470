"""A changed method is run, not remembered: edits in a copy of the library, each read by a process of its own, on one run folder."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from parallax_lib.core.config import ROOT

STUDY = '''
import json
from functools import partial
from parallax_lib.prm import model as prm_model
from parallax_lib.search import rollouts
from parallax_lib.study import inference, prm_registry
from parallax_lib.study import run as runs

small = {"suite": {"directions": ["serial-omp"]}, "translator": {"model": "random", "dtype": "float32"}, "prm": {"kind": "ridge"},
         "latent": {"steps": 2, "sigma": 2.0}, "decode": {"max_new_tokens": 6}, "search": {"limit": 1, "branches": 3},
         "executor": {"retries": 0}}
run = runs.open_run("changed", overrides=small)
folder = prm_registry.prm_folder(run)
if not folder.exists():
    model = prm_model.build(prm_model.PRMConfig(backbone="ridge", latent_width=576, steps=2))
    model.weight[:] = 0.01
    prm_model.save(model, folder, partial(prm_registry.write_families, []))
tasks = inference.held_out_tasks(run)
rollouts.collect(tasks, run.params, run.journal, run.folder / "vectors", run.progress)
frame, vectors = rollouts.load_rollouts(run.journal, run.folder / "vectors", rollouts.chunk_keys(tasks, run.params))
written = inference.translate_all(run, tasks)
kept = {kind: len(run.journal.rows(kind)) for kind in ("chunk", "translation")}
told = {"capture_id": list(frame["capture_id"]), "latents": float(abs(vectors.astype(float)).sum()), "kept": kept,
        "rollouts": frame[["plan", "tokens", "mean_logprob"]].to_json(),
        "translations": written[["arm", "picks", "plan", "decode_tokens", "mean_logprob"]].to_json()}
print(json.dumps(told))
'''

# Reads what is heavy once, then every edited library in a child of its own.
DRIVER = '''
import json, os, sys
from pathlib import Path
import torch, transformers, peft, pandas, scipy.stats
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast
torch.set_num_threads(1)
root, study = Path.cwd(), sys.argv[1]
for name, edits in json.loads(sys.argv[2]):
    before = {file: (root / file).read_text() for file, _, _ in edits}
    for file, old, new in edits:
        assert before[file].count(old) == 1, (file, old)
        (root / file).write_text(before[file].replace(old, new))
    out = root / f"{name}.json"
    if not (child := os.fork()):
        sys.dont_write_bytecode = True
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
        try:
            exec(study, {"__name__": "__main__"})
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    for file, text in before.items():
        (root / file).write_text(text)
'''

PROPOSALS, POLICIES = "parallax_lib/translator/proposals.py", "parallax_lib/search/policies.py"
EDITS = {
    "first": [],
    "again": [],
    "comment": [(PROPOSALS, "    scale = sigma * ", "    # as it was\n    scale = sigma * ")],
    "raises": [(PROPOSALS, "    scale = sigma * ", "    raise RuntimeError('not written yet')\n    scale = sigma * ")],
    "shifted": [(PROPOSALS, "h + scale * sent(", "h + scale + scale * sent(")],
    "chooser": [(POLICIES, "descending=True", "descending=False")],
    "prompt": [("parallax_lib/tasks/prompts.py", "You translate programs", "You rewrite programs")],
    "decoding": [("parallax_lib/translator/drawing.py", "chosen = logits.argmax(-1)", "chosen = logits.argmin(-1)")],
    "reverted": [],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the study's stages gave after every edit, in the order of EDITS."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "parallax_lib", root / "parallax_lib", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data").mkdir()
    (root / "data" / "minibench").symlink_to(ROOT / "data" / "minibench")
    (root / "params").mkdir()
    edits = json.dumps(list(EDITS.items()))
    subprocess.run([sys.executable, "-c", DRIVER, STUDY, edits], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True)
    return {name: json.loads((root / f"{name}.json").read_text()) for name in EDITS}


@pytest.mark.slow
def test_a_changed_method_is_run_and_not_remembered(told):
    first = told["first"]
    assert first["kept"] == {"chunk": 1, "translation": 2} and told["again"] == told["comment"] == first
    assert list(told["raises"]) == ["error"] and told["raises"]["error"].endswith("RuntimeError: not written yet")
    for name, rolled in (("shifted", True), ("chooser", False), ("prompt", True), ("decoding", True)):
        now = told[name]
        assert now["capture_id"] == first["capture_id"], name  # names are of settings, not of code
        assert now["translations"] != first["translations"], name
        assert (now["rollouts"] != first["rollouts"]) == rolled, name
        assert (now["latents"] != first["latents"]) == (name in ("shifted", "prompt")), name


@pytest.mark.slow
def test_going_back_to_earlier_code_finds_its_results_and_makes_none(told):
    before, after = told["decoding"]["kept"], told["reverted"]
    assert {name: after[name] for name in ("latents", "rollouts", "translations")} == {
        name: told["first"][name] for name in ("latents", "rollouts", "translations")
    }
    assert after["kept"] == before == {"chunk": 4, "translation": 10}
