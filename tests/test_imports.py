"""What is left out of an import is left out there alone, and figures are shown as before."""

import subprocess
import sys

from parallax_lib.core.imports import GRAMMAR

SHOWN = f"""
import sys
import plotly.graph_objects as go
import plotly.io as pio
from parallax_lib.analysis.figures.theme import use_renderer
use_renderer()
assert "jsonschema" in sys.modules and "lark" not in sys.modules and "{GRAMMAR}" not in sys.modules
bundle = pio.renderers._build_mime_bundle(go.Figure(go.Scatter(y=[1])).to_plotly_json())
assert "application/vnd.plotly.v1+json" in bundle, bundle
import {GRAMMAR}
from parallax_lib.core.imports import without_grammar_of_iris
with without_grammar_of_iris():
    import {GRAMMAR} as same
assert same is sys.modules["{GRAMMAR}"]
"""


def test_a_renderer_is_chosen_without_a_grammar_of_iris_which_can_be_imported_later():
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
