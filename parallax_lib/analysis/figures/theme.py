"""How every figure looks and how it is shown: fixed colours, one template, a renderer, a page that works offline.

Knows names of directions, methods and reasons.  Knows no tables: what a figure says is decided by the module that draws it.
Colours are Okabe and Ito's (2008), told apart with every common form of colour blindness; shades mark kin.
"""

from __future__ import annotations

import base64
import html
import json
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from parallax_lib.analysis.figures.escape import label
from parallax_lib.core.errors import UserError
from parallax_lib.core.imports import without_grammar_of_iris
from parallax_lib.core.settings import DIRECTIONS
from parallax_lib.verdict.reasons import UNKNOWN as NOT_JUDGED

BLACK, ORANGE, SKY, GREEN = "#1b1f24", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8c959f"
NAVY, MAROON, OLIVE = "#003F63", "#7F2A00", "#6B7A00"
PASS, FAIL = BLUE, VERMILLION

DIRECTION_COLOURS = dict(zip(DIRECTIONS, (BLUE, ORANGE, GREEN, PURPLE), strict=True))
DIRECTION_SYMBOLS = dict(zip(DIRECTIONS, ("circle", "square", "diamond", "triangle-up"), strict=True))
ARM_COLOURS = {
    "unguided": BLACK, "random": GREY, "guided": BLUE, "redecode": ORANGE,
    "best_of_n": PURPLE, "compile_filter": SKY, "execution_filter": VERMILLION, "first_survivor": MAROON, "guided_filter": NAVY,
    "untrained_rule": OLIVE, "oracle": GREEN, "majority": "#B8A000", "agreement_filter": "#A8326E", "first_agreeing": "#2F7F7F",
    "guided_agreeing": "#4B3FBF", "sampled": "#A05A2C",
    "t0": "#7A5195", "t1": "#C49A6C", "t2": "#4D6B8A", "t4": "#9B8F00", "t5": "#5B8C5A", "k12": "#B0413E",
}  # fmt: skip
SPARE = ("#7A5195", "#A05A2C", "#2F7F7F", "#B8A000", "#4D6B8A", "#A8326E")  # of methods that have no colour above
MODEL_COLOURS = {"prm": BLUE, "transformer": BLUE, "ridge": ORANGE, "gru": GREEN}
REASON_COLOURS = {
    "ok": GREEN, "race": PURPLE, "nondeterministic": "#E3B5CE",
    "wrong_output": VERMILLION, "incomplete": "#F0A37A", "cheat_suspected": "#7F3800",
    "not_parallel": ORANGE, "no_kernel_launch": "#F4CC73",
    "no_code": NAVY, "compile_error": BLUE, "compile_limit": "#7FBCE0",
    "crash": "#3d444d", "cuda_error": "#59636e", "timeout": "#7d8590",
    "memory_limit": "#9ea7b0", "process_limit": "#adb5bd", "output_limit": "#bcc3ca",
    "not_checkable": "#F0E442", "infra_error": "#f7f1a1",
}  # fmt: skip
REASONS = tuple(REASON_COLOURS)  # also the order in legends: passed first, our own failures last
FAILURE_CLASSES = {
    "validated": ("ok",), "race": ("race", "nondeterministic"),
    "wrong output": ("wrong_output", "incomplete", "cheat_suspected"),
    "not parallel": ("not_parallel", "no_kernel_launch"),
    "does not build": ("no_code", "compile_error", "compile_limit"),
    "stopped": ("crash", "cuda_error", "timeout", "memory_limit", "process_limit", "output_limit"), "not judged": NOT_JUDGED,
}  # fmt: skip
PALE = ((0, "#f7f9fb"), (1, "#6baed6"))  # of heat maps: black text on any shade has a contrast of 7 and more
PALE_SIGNED = ((0, "#f4a582"), (0.5, "#f7f9fb"), (1, "#6baed6"))
DARK = (  # of JupyterLab's dark theme: light and dark change places, hues stay
    'body[data-jp-theme-light="false"] .jp-OutputArea .js-plotly-plot .main-svg, '
    'body[data-jp-theme-light="false"] .jp-RenderedImage img {filter: invert(0.92) hue-rotate(180deg)}'
)
TOP_LEGEND = dict(orientation="h", x=1, xanchor="right", y=1, yref="container", yanchor="top")
BESIDE = dict(side="right", font=dict(size=13))  # how a colour bar carries its title
SYMBOLS = ("circle", "triangle-up", "x", "square", "diamond", "cross", "circle-open")
CLASS_COLOURS = dict(zip(FAILURE_CLASSES, (GREEN, PURPLE, VERMILLION, ORANGE, BLUE, "#3d444d", GREY), strict=True))
CLASS_SYMBOLS = dict(zip(FAILURE_CLASSES, SYMBOLS, strict=True))

WIDTH, HEIGHT = 860, 420  # of a picture; on a page the width follows the window
AXIS = dict(
    gridcolor="#eaeef2", zeroline=False, linecolor=GREY, ticks="outside", tickcolor=GREY, ticklen=4,
    ticklabelstandoff=3, automargin=True, title=dict(font=dict(size=13), standoff=10),
)  # fmt: skip
TEMPLATE = go.layout.Template(
    layout=dict(
        font=dict(family="Inter, Helvetica, Arial, sans-serif", size=13, color=BLACK),
        title=dict(x=0, xref="paper", xanchor="left", yanchor="top", y=1, pad=dict(t=18), font=dict(size=16)),
        colorway=[BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, BLACK],
        paper_bgcolor="white", plot_bgcolor="white", height=HEIGHT, margin=dict(l=60, r=24, t=74, b=64),
        legend=dict(itemsizing="constant", tracegroupgap=2), hoverlabel=dict(align="left", bgcolor="white"),
        xaxis=AXIS, yaxis=AXIS,
    )
)  # fmt: skip


def arm_colour(arm: str) -> str:
    """Colour of a method by the longest known name it starts with: `guided+repair2` has that of `guided`; another name always the same."""
    known = [name for name in ARM_COLOURS if str(arm).startswith(name)]
    spare = SPARE[zlib.crc32(re.split(r"[@+]", str(arm))[0].encode()) % len(SPARE)]
    return ARM_COLOURS[max(known, key=len)] if known else spare


def failure_class(reason: str) -> str:
    """One of seven classes: few enough to be told apart by colour."""
    return next((name for name, reasons in FAILURE_CLASSES.items() if reason in reasons), "not judged")


def ordered(values, known) -> list[str]:
    """The distinct `values`, those in `known` first and in its order, the rest by name."""
    present = {str(value) for value in values}
    return [name for name in known if name in present] + sorted(present - set(known))


def need(table: pd.DataFrame, columns: Sequence[str], figure: str) -> None:
    """Refuse a table that lacks a column, naming the figure and both sides."""
    missing = [name for name in columns if name not in table]
    if missing:
        has = ", ".join(map(str, table.columns)) or "no columns"
        raise UserError(f"{figure}: the table lacks {', '.join(missing)}; it has {has}")


def titled(title: str, subtitle: str) -> str:
    """Both lines as one text: plotly's own subtitle lands on the title in a widget."""
    return f'{title}<br><span style="font-size:12px;color:#57606a">{subtitle}</span>' if subtitle else title


def finish(fig: go.Figure, title: str, subtitle: str = "", x: str = "", y: str = "", **layout) -> go.Figure:
    """Title, one line of detail under it and axis titles in the common look."""
    fig.update_layout(template=TEMPLATE, title_text=titled(title, subtitle))
    if x:
        fig.update_xaxes(title_text=x)
    if y:
        fig.update_yaxes(title_text=y)
    return fig.update_layout(**layout)


def small(text: str) -> str:
    """Text at the least size that is read well, 11 px: a second line under a name."""
    return f'<span style="font-size:11px">{text}</span>'


def beside_zero(values: pd.Series, span: float) -> list[str]:
    """Where the text of each dot stands: above it, and to the side of a line at zero that would run through the text."""
    aside = {True: "top left", False: "top right"}
    return ["top center" if abs(value) > 0.05 * span else aside[value < 0] for value in values]


def empty(title: str, why: str = "no rows to show") -> go.Figure:
    """A figure without data that says so."""
    fig = finish(go.Figure(), title, height=200)
    at = dict(xref="paper", yref="paper", x=0.5, y=0.5)
    fig.add_annotation(text=label(why, 200), showarrow=False, font=dict(size=14, color=GREY), **at)
    return fig.update_xaxes(visible=False).update_yaxes(visible=False)


def has_browser() -> bool:
    """Whether kaleido and the Chrome it draws with are here; neither is needed for anything but PNG copies."""
    try:
        import kaleido  # noqa: F401
        from choreographer.browsers.chromium import chromium_based_browsers
        from choreographer.utils import get_browser_path

        return get_browser_path(chromium_based_browsers) is not None
    except ImportError:
        return False


def text_on(colour: str) -> str:
    """Black or white, whichever has the larger contrast on the colour (WCAG 2.1, relative luminance)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else "#ffffff"


def follow_notebook() -> None:
    """In a notebook: figures turn dark with JupyterLab's dark theme, their hues kept."""
    from IPython import get_ipython
    from IPython.display import display

    if getattr(get_ipython(), "kernel", None):
        display({"text/html": f"<style>{DARK}</style>", "text/plain": ""}, raw=True)


def use_renderer(picture: bool = False) -> str:
    """Choose how `show` and a cell's last figure are stored, and return plotly's name for it.

    Default `plotly_mimetype`: interactive in JupyterLab, no browser needed, nothing in GitHub's or nbconvert's view.
    `picture=True` adds a PNG for those views where a Chrome can be found (0.2 s a figure after 3 s to start).
    The offline page of `report.report_html` needs neither.
    """
    name = "plotly_mimetype"
    if picture and has_browser():
        import kaleido

        kaleido.start_sync_server(silence_warnings=True)
        warnings.filterwarnings("ignore", message="The kopts argument")  # kaleido warns of nothing
        name += "+png"
    follow_notebook()
    with without_grammar_of_iris():
        pio.renderers.default = name
    pio.defaults.default_width, pio.defaults.default_height, pio.defaults.default_scale = WIDTH, HEIGHT, 1
    return name


def title_of(fig: go.Figure) -> str:
    """A figure's title as plain text."""
    return html.unescape(re.sub(r"<[^>]+>", "", (fig.layout.title.text or "figure").split("<br>")[0]))


def show(fig: go.Figure) -> None:
    """Display a figure as `use_renderer` chose, with its title as text for viewers that draw nothing."""
    from IPython.display import display

    display(mime_bundle(fig, picture="png" in pio.renderers.default), raw=True)


def mime_bundle(fig: go.Figure, picture: bool) -> dict[str, object]:
    """What a notebook stores of one figure."""
    bundle: dict[str, object] = {"text/plain": f"[figure] {title_of(fig)}"}
    bundle["application/vnd.plotly.v1+json"] = json.loads(fig.to_json())
    if picture:
        bundle["image/png"] = base64.b64encode(fig.to_image("png")).decode()
    return bundle


def save_html(fig: go.Figure, path: str | Path) -> Path:
    """One page of about 15 kB, with `plotly.min.js` (4.8 MB) beside it once for all pages of the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.write_html(path, include_plotlyjs="directory", config=dict(displaylogo=False, responsive=True))
    return path
