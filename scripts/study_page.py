"""Writes a run's report card as a page: every table of stages 01-07 that is there, as measured.

    python scripts/study_page.py data/study docs/study.png > docs/STUDY.md   # and a figure
    python scripts/study_page.py data/runs/study --ship data/study           # the tables that the page needs, small

FOLDER is a run's folder or one that --ship made.  All that is said of the methods is worked out here from their rows.  `notes.json`
in the folder holds a sentence for a section's title, or for a table's name: it stands under the title, or that of its first section.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from study_sections import BESIDE, JUDGED, SECTIONS, collected, lead

from parallax_lib.analysis import comparisons, metrics
from parallax_lib.analysis.comparisons import GUIDED
from parallax_lib.analysis.subgroups import NOTES, bought, parts, read_notes, with_suite, without_equal_cost
from parallax_lib.core.errors import UserError
from parallax_lib.core.storage import read_table, write_atomic

TITLE = "The study's tables"
TEXTS = ["source_code", "code", "log", "parallel_evidence", "race_evidence", "checked", "sandbox", "toolchain"]
SMALL = {"compression": "zstd", "compression_level": 22, "dictionary_pagesize_limit": 1 << 26}  # every text once


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Those of the page's tables that the folder holds; of rollouts only what `collected` says."""
    names = [name for name in (*SECTIONS, *BESIDE, "rollouts") if (folder / f"{name}.parquet").exists()]
    found = {name: read_table(folder, name) for name in names}
    if not found:
        raise UserError(f"{folder}: holds none of {', '.join(SECTIONS)}; run the study, or name its folder")
    return ({"collected": collected(found.pop("rollouts"))} if "rollouts" in found else {}) | found


def page(folder: Path) -> str:
    """Sections whose tables are there; a run of stages 01-03 has no methods."""
    found = tables(folder)
    more = {name: [] for name in found}  # what a section needs beside its table
    for name in (name for name in JUDGED if name in found):
        found[name] = with_suite(found[name])
        more[name] = [parts(found[name], "suite"), *([read_table(folder, each) for each in BESIDE] if name == "cross_validation" else [])]
    for name, other in (("pool", "results"), ("text_choosers", "cross_validation")):
        if name in found and other in found:
            more[name] = [found[other]]
    sections = {name: make(found[name], *more[name]) for name, make in SECTIONS.items() if name in found}
    notes = noted(folder, sections)
    suites = {name: more[name][0] for name in JUDGED if name in found}
    blocks = [f"# {TITLE}", lead(suites) if suites else None]
    blocks += [f"Made by `python scripts/study_page.py {folder}` from the tables there.", notes.get(TITLE)]
    for title, text in (section for part in sections.values() for section in part):
        blocks += [f"## {title}", notes.get(title), text]
    return "\n\n".join(filter(None, blocks)) + "\n"


def noted(folder: Path, sections: dict[str, list]) -> dict[str, str]:
    """The folder's notes by section title; one that fits no table and no section is refused."""
    notes = read_notes(folder)
    titles = [title for part in sections.values() for title, _ in part]
    for name in notes:
        if name not in {TITLE, *SECTIONS, *titles}:
            raise UserError(
                f"{folder / NOTES}: {name!r} is neither a table nor a section; they are {', '.join([TITLE, *SECTIONS, *titles])}"
            )
    return {part[0][0]: notes[name] for name, part in sections.items() if name in notes} | notes


def figure(folder: Path, path: Path) -> None:
    """What programs and tokens buy, or without a pool guided's differences: of the methods, or else of stage 03's choices."""
    from parallax_lib.analysis.figures import methods as method_figures
    from parallax_lib.analysis.figures import report_card as report_figures

    found = tables(folder)
    results = without_equal_cost(found["results"])[0] if "results" in found else None
    if results is not None and "pool" in found and GUIDED in set(results["arm"]):
        fig = report_figures.bought(bought(found["pool"], results, least=1), metrics.arm_table(results))
    else:
        fig = method_figures.paired_diff(comparisons.differences(results) if results is not None else read_table(folder, BESIDE[0]))
    fig.write_image(path, width=900, scale=1.5)


def ship(folder: Path, out: Path) -> None:
    """The page's tables in little room; only the methods' programs keep their texts."""
    for name, rows in tables(folder).items():
        small = rows if name == "results" else rows.drop(columns=TEXTS, errors="ignore")
        write_atomic(out / f"{name}.parquet", small.to_parquet(index=False, **SMALL))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path, help="a run's folder, or one that --ship made")
    ask.add_argument("figure", type=Path, nargs="?", help="where to draw what programs and tokens buy (or guided's differences)")
    ask.add_argument("--ship", type=Path, metavar="OUT", help="write the page's tables there instead of the page")
    args = ask.parse_args()
    try:
        if args.ship:
            ship(args.folder, args.ship)
        else:
            print(page(args.folder), end="")
        if args.figure:
            figure(args.folder, args.figure)
    except UserError as error:
        ask.error(str(error))


if __name__ == "__main__":
    main()
