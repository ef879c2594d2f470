"""Runs every notebook with its own defaults (the tiny run) and stores the outputs that nbval compares.

`make notebooks`.  Large figures are stored as their title only, widgets not at all, so that diffs stay readable.
"""

import shutil
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
MOST = 60_000  # characters of one stored figure


def light(output: dict) -> dict | None:
    """The output without machine-dependent or bulky parts; None if nothing readable is left."""
    if output.get("name") == "stderr":
        return None
    if "text" in output:
        output["text"] = output["text"].replace(f"{ROOT}/", "")
    data = output.get("data")
    if data is None:
        return output
    data.pop("application/vnd.jupyter.widget-view+json", None)
    if len(str(data.get("application/vnd.plotly.v1+json", ""))) > MOST:
        data.pop("application/vnd.plotly.v1+json")
    return output if data else None


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where, store_widget_state=False).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in map(light, cell.outputs) if o]
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    shutil.rmtree(ROOT / "data" / "runs" / "tiny", ignore_errors=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if len(sys.argv) < 2 or any(name in path.name for name in sys.argv[1:]):
            refresh(path)
