"""Notebooks as stored: a question, its method in few lines, the study's outputs; 08 is executed by no run."""

import ast
import io
import json
import re

import frames
import numpy as np
import pandas as pd
import pytest
import refresh_notebooks
from PIL import Image

from parallax_lib.analysis import comparisons, subgroups
from parallax_lib.core.config import ROOT
from parallax_lib.core.storage import read_table
from parallax_lib.study import pipeline

STUDY = ROOT / "data" / "study"


def test_a_picture_of_few_colours_is_the_same_in_fewer_bytes():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, 3), dtype=np.uint8)[rng.integers(0, 200, (60, 90))]
    plain = io.BytesIO()
    Image.fromarray(pixels).convert("RGBA").save(plain, "PNG")
    made = refresh_notebooks.small(plain.getvalue())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(made)).convert("RGB")), pixels)
    assert len(made) < len(plain.getvalue())


NOTEBOOKS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def cells(notebook: dict, kind: str) -> list[tuple[str, list[str], list[dict]]]:
    """(source, tags, outputs) of the cells of one kind."""
    found = [cell for cell in notebook["cells"] if cell["cell_type"] == kind]
    return [("".join(cell["source"]), cell["metadata"].get("tags", []), cell.get("outputs", [])) for cell in found]


def test_a_notebook_asks_a_question_shows_its_method_in_few_lines_and_says_what_the_figure_means():
    for name, notebook in NOTEBOOKS.items():
        text, code = cells(notebook, "markdown"), cells(notebook, "code")
        assert "?" in text[0][0].splitlines()[0], name
        [parameters] = [source for source, tags, _ in code if "parameters" in tags]
        assert re.findall(r"^(\w+):", parameters, re.M) == ["run", "seed", "overrides"] and "run: str = \"study\"" in parameters, name
        [method] = [source for source, tags, _ in code if "method" in tags]
        assert len(method.splitlines()) <= 12, name
        told = "\n".join(source for source, _, _ in text)
        assert name.startswith("explore") or all(f"\n## {part}" in f"\n{told}" for part in ("Method", "What it means", "Next")), name
        assert name.startswith("explore") or "$" in told, f"{name}: no equation"


def test_no_function_of_a_notebook_is_over_ten_lines():
    for name, notebook in NOTEBOOKS.items():
        for source, _, _ in cells(notebook, "code"):
            defined = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
            assert all(node.end_lineno - node.lineno < 10 for node in defined), name


def test_the_stored_outputs_are_the_studys_whole_and_small():
    for name, notebook in NOTEBOOKS.items():
        outputs = [out for _, _, found in cells(notebook, "code") for out in found]
        assert not [out for out in outputs if out["output_type"] == "error" or out.get("name") == "stderr"], name
        assert any("data/study" in "".join(out.get("text", "")) for out in outputs), f"{name}: not the study that ships"
        assert any("image/png" in out.get("data", {}) for out in outputs), f"{name}: no picture"
        assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < 320_000 and "widgets" not in notebook["metadata"], name
        counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert counts == list(range(1, len(counts) + 1)), f"{name}: not one run from top to bottom"


def test_no_run_executes_the_notebook_of_the_study():
    assert not [stage for stage in pipeline.stages("01-99") if stage.notebook.name.startswith("08")]


def test_the_stored_outputs_are_those_of_the_shipped_tables():
    path = ROOT / "notebooks" / "08_study_results.ipynb"
    outputs = [out for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] for out in cell.get("outputs", [])]
    told = "".join("".join(out.get("text", "")) for out in outputs)
    results, _ = subgroups.without_equal_cost(read_table(STUDY, "results"))
    assert comparisons.headline(comparisons.differences(results), comparisons.gap_closed(results)) in told
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 8


def test_families_of_both_suites_are_those_of_all_rows():
    results = frames.results().replace({"kernel": {"saxpy": "n_map_7"}})
    made = subgroups.families(subgroups.with_suite(results))
    pd.testing.assert_frame_equal(made.drop(columns="suite"), comparisons.by_family(results))
    assert made.set_index("family")["suite"].to_dict() == {"histogram": "hand-written", "map": "generated", "reduction": "hand-written"}


@pytest.mark.parametrize(
    ("low", "diff", "oracle", "said"),
    [
        (0.01, 0.1, 0.5, "gains on generated kernels"),
        (-0.1, 0.0, 0.5, "gains nothing on generated kernels"),
        (-0.1, 0.1, 0.5, "shows no sure gain on generated kernels"),
        (-0.1, 0.0, 0.1, "cannot be judged on generated kernels, where the oracle itself gains less than so few tasks could show"),
    ],
)
def test_a_gain_is_said_only_where_the_interval_lies_above_zero_and_a_null_only_where_one_could_be_seen(low, diff, oracle, said):
    row = {"suite": ["generated"], "low": [low], "diff": [diff], "unguided": [0.0], "oracle": [oracle], "mde": [0.2]}
    assert subgroups.verdict(pd.DataFrame(row)) == f"Guidance {said}."


def test_more_programs_are_compared_with_the_same_guided_rows():
    pool = pd.DataFrame([
        {"task": task, "seed": 0, "sample": i, "mean_logprob": -float(i), "level": level, "reason": reason, "validated": level == 5,
         "cost": 10.0 + i, "prefill_tokens": 4, "arm": "pool", "score": float("nan"), "decode_tokens": 2}
        for task, fates in (("a", [(1, "compile_error"), (5, "ok")]), ("b", [(4, "nondeterministic"), (4, "wrong_output")]))
        for i, (level, reason) in enumerate(fates)
    ])  # fmt: skip
    results = pd.DataFrame({"task": ["a", "b"], "seed": 0, "arm": "guided", "validated": [True, False], "reason": ["ok", "wrong_output"],
                            "latent_steps": 3, "prm_calls": 6, "cost": 20.0, "prefill_tokens": 4, "decode_tokens": 9})  # fmt: skip
    made = subgroups.bought(pool, results, least=1).set_index(["arm", "N"])
    assert made.loc[("best_of_n", 2), ["cost", "rate", "diff"]].tolist() == [17.0, 0.0, 0.5]
    assert made.loc[("compile_filter", 2), ["rate", "diff"]].tolist() == [0.5, 0.0] == made.loc[("oracle", 2), ["rate", "diff"]].tolist()
    assert made["cost"].xs(1, level="N").unique() == [10.0]
