"""What is left out of an import is left out there alone, and figures are shown as before."""

import importlib.util
import subprocess
import sys

import pytest

from parallax_lib.core.imports import GRAMMAR, without_grammar_of_iris

SHOWN = f"""
import sys
import plotly.graph_objects as go
import plotly.io as pio
from parallax_lib.analysis.figures.theme import use_renderer
use_renderer()
assert "jsonschema" in sys.modules and "lark" not in sys.modules and "{GRAMMAR}" not in sys.modules
bundle = pio.renderers._build_mime_bundle(go.Figure(go.Scatter(y=[1])).to_plotly_json())
assert "application/vnd.plotly.v1+json" in bundle, bundle
"""


def test_a_renderer_is_chosen_without_a_grammar_of_iris():
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_grammar_can_be_imported_outside_and_what_is_imported_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, GRAMMAR, raising=False)
    with without_grammar_of_iris(), pytest.raises(ImportError):
        importlib.import_module(GRAMMAR)
    assert GRAMMAR not in sys.modules and importlib.util.find_spec(GRAMMAR)
    monkeypatch.setitem(sys.modules, GRAMMAR, there := object())
    with without_grammar_of_iris():
        assert importlib.import_module(GRAMMAR) is there
    assert sys.modules[GRAMMAR] is there
