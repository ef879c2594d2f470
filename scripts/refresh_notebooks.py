"""Runs every notebook with its own defaults, which read the study's tables that ship, and stores the outputs that nbval compares.

`make notebooks`.  Figures are stored as pictures where a Chrome can be found, for readers of the page that runs nothing;
large interactive figures and widgets are not stored.  A study of one's own in data/runs/study would be shown instead: refused.
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
from nbclient import NotebookClient
from PIL import Image

from parallax_lib.analysis.figures import theme
from parallax_lib.study.run import STUDY, open_run

ROOT = Path(__file__).resolve().parents[1]
PLOTLY = "application/vnd.plotly.v1+json"
MOST = 60_000  # characters of one stored figure


def small(png: bytes) -> bytes:
    """The same picture in at most 256 colours, a third of the bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def light(output: dict) -> dict | None:
    """The output without machine-dependent or bulky parts; None if nothing readable is left."""
    if output.get("name") == "stderr":
        return None
    if "text" in output:
        output["text"] = output["text"].replace(f"{ROOT}/", "")
    data = output.get("data")
    if data is None:
        return output
    if "application/vnd.jupyter.widget-view+json" in data:
        return None
    figure = data.get(PLOTLY)
    if figure and theme.has_browser():
        data["image/png"] = base64.b64encode(small(go.Figure(data=figure["data"], layout=figure["layout"]).to_image("png"))).decode()
    if figure and (len(str(figure)) > MOST or "image/png" in data):
        data.pop(PLOTLY)
    return output if data else None


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where, store_widget_state=False, coalesce_streams=True).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in map(light, cell.outputs) if o]
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    if not open_run(STUDY).shipped:
        sys.exit(f"data/runs/{STUDY} holds a study of your own, which the notebooks would show; move it away first")
    theme.use_renderer(picture=True)  # starts the browser once
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if len(sys.argv) < 2 or any(name in path.name for name in sys.argv[1:]):
            refresh(path)
