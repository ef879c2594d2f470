"""The reference of the documentation is made from the code: every setting, command and public function is on its page."""

import subprocess
import sys
from importlib.util import find_spec

import docs_site
import modules_page
import pytest

from parallax_lib.core.config import ROOT
from parallax_lib.core.settings import Params


def test_every_setting_has_a_row_with_type_default_and_a_sentence():
    page = docs_site.settings()
    for section, field in Params.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            part = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
            rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("| `")]
            assert [row[0] for row in rows] == [f"`{key}`" for key in field.annotation.model_fields]
            assert not [row[0] for row in rows if len(row) < 4 or not row[3].strip(" |")], section
    assert "| `tau` | `float > 0` | `0.1` | temperature of the soft alignment |" in page


def test_a_docstring_is_text_and_its_code_stays_code():
    assert docs_site.prose("rows [n, K] of `x[0] < y`, a*b <run>") == "rows \\[n, K\\] of `x[0] < y`, a\\*b \\<run\\>"


def test_every_public_function_is_in_the_reference():
    page = docs_site.package(modules_page.LIBRARY / "prm")
    assert "## `losses`" in page and "def fit(" in page and "class TrainConfig:" in page and "    loss: str | Callable = 'mse'" in page


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sphinx"), reason="the docs extra is not installed")
def test_the_site_is_built_without_a_warning():
    done = subprocess.run([sys.executable, "scripts/docs_site.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "https://" not in "".join(line for line in (docs_site.SITE / "index.html").read_text().splitlines() if "<script" in line)
