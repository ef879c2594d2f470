"""Runs every notebook with its own defaults (the tiny run; 08: the study's tables) and stores the outputs that nbval compares.

`make notebooks`.  Figures are stored as pictures where a Chrome can be found, for readers of the page that runs nothing;
large interactive figures and widgets are not stored.
"""

import base64
import shutil
import struct
import sys
import zlib
from pathlib import Path

import nbformat
import numpy as np
import plotly.graph_objects as go
from nbclient import NotebookClient

from parallax_lib import theme

ROOT = Path(__file__).resolve().parents[1]
PLOTLY = "application/vnd.plotly.v1+json"
MOST = 60_000  # characters of one stored figure


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def small(png: bytes) -> bytes:
    """The same picture in at most 256 colours, a third of the bytes; as it is where Chrome's writer does not write as it did
    (RGBA, each line as its difference from the one above)."""
    width, height, *form = struct.unpack(">IIBBBBB", png[16:29])
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        data += png[at + 8 : at + 8 + length] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(data), np.uint8)
    if form != [8, 6, 0, 0, 0] or (lines[:: 4 * width + 1] != 2).any():
        return png
    pixels = np.add.accumulate(lines.reshape(height, -1)[:, 1:], axis=0, dtype=np.uint8).reshape(-1, 4)[:, :3].astype(int)
    colours, which, counts = np.unique(pixels @ (1 << 16, 1 << 8, 1), return_inverse=True, return_counts=True)
    colours = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    palette = list(np.argsort(-counts, kind="stable")[:160])  # the most frequent, then whatever is farthest from all before
    away = ((colours[:, None] - colours[palette]) ** 2).sum(axis=2).min(axis=1)
    while len(palette) < 256 and away.any():
        palette.append(away.argmax())
        away = np.minimum(away, ((colours - colours[palette[-1]]) ** 2).sum(axis=1))
    palette = colours[palette]
    nearest = ((colours[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1)
    indices = np.zeros((height, width + 1), np.uint8)  # a line begins with its filter: none
    indices[:, 1:] = nearest[which].reshape(height, width)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", palette.astype(np.uint8).tobytes()), (b"IDAT", zlib.compress(indices.tobytes(), 9)), (b"IEND", b""))
    return png[:8] + b"".join(chunk(*part) for part in parts)


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
    theme.use_renderer(picture=True)  # starts the browser once
    shutil.rmtree(ROOT / "data" / "runs" / "tiny", ignore_errors=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if len(sys.argv) < 2 or any(name in path.name for name in sys.argv[1:]):
            refresh(path)
