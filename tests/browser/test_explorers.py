"""The explorers in a real JupyterLab: clicks reach the kernel, panes fill, hostile text stays text."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[browser])")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupyterlab")

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))  # so that this file can be run alone

import frames  # noqa: E402
from lab import DRAWN, FLAGS, Lab, click, find_browser, run_notebook  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

SETUP = """import frames
from parallax_lib import explore, recheck
rollouts, results = frames.rollouts(), frames.results()"""
CELLS = {
    "scores": "explore.ScoreExplorer(rollouts, frames.scores(rollouts))",
    "failures": "explore.FailureExplorer(results, 'decisions.json')",
    "recheck": "explore.Adjudicator(recheck.queue(results), 'decisions.json', results)",
}
PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
SHOWN = "text => [...document.querySelectorAll('.px')].some(e => e.innerText.includes(text))"
TITLE = ".px-title >> nth=0"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if find_browser() is None:
        pytest.skip("no chromium or chrome on this machine")
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    for name, cell in CELLS.items():
        cells = [nbformat.v4.new_code_cell(SETUP), nbformat.v4.new_code_cell(cell)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=PYTHON), root / f"{name}.ipynb")
    server = Lab(root, home, [TESTS, TESTS.parent])
    server.root = root
    try:
        yield server.wait()
    finally:
        server.close()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1700})
    page.failures = []
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    page.set_default_timeout(60_000)
    yield page
    assert page.evaluate("() => window.pwned") is None
    assert page.locator(".px script, .px img").count() == 0
    assert page.failures == []
    page.close()


def test_a_click_on_a_point_shows_its_program(lab, page):
    run_notebook(page, lab, "scores.ipynb")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    page.wait_for_function(DRAWN, arg=[0, 2])
    row = page.evaluate("() => document.querySelector('.js-plotly-plot')._fullData[2].customdata[0][0]")
    click(page, trace=2, point=0)
    page.wait_for_function("() => document.querySelector('.px-title')?.innerText.includes('wrong_output')")
    assert frames.rollouts()["task"][row] in page.locator(TITLE).inner_text()
    assert "#pragma omp parallel for" in page.locator(".px-pair").inner_text()
    for tab, text in (("diff", "+#pragma omp"), ("log", "<script>"), ("plan, verdict", "map <b>reduce</b>")):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_function(SHOWN, arg=text)
    page.locator(".widget-dropdown select").first.select_option("ridge")
    page.wait_for_function("() => document.querySelector('.js-plotly-plot').innerHTML.includes('latent step 3, ridge')")


def test_a_click_on_a_cell_lists_its_programs(lab, page):
    run_notebook(page, lab, "failures.ipynb")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    rows = frames.results()
    wanted = rows[(rows["reason"] == "ok") & (rows["arm"] == "guided")]
    click(page, trace=0, point=["guided", "ok"])
    page.wait_for_function("n => document.querySelectorAll('.widget-select option').length === n", arg=len(wanted))
    page.get_by_role("button", name="next").click()
    page.wait_for_function(SHOWN, arg=wanted["task"].iloc[1])
    page.get_by_role("button", name="mark: look again").click()
    page.wait_for_function("() => document.body.innerText.includes('decision on file: recheck')")
    page.get_by_role("button", name="export selection").click()
    page.wait_for_function("() => document.body.innerText.includes('rows written to selection.csv')")
    assert (lab.root / "selection.csv").read_text().count("serial") >= 1


def test_a_decision_is_kept_and_moves_the_rate(lab, page):
    run_notebook(page, lab, "recheck.ipynb")
    page.wait_for_selector(".widget-select select option")
    before = page.locator(TITLE).inner_text()
    page.get_by_role("button", name="accept").click()
    page.wait_for_function("() => document.body.innerText.match(/[12] of \\d+ decided/)")
    page.wait_for_function("old => document.querySelector('.px-title').innerText !== old", arg=before)
    kept = json.loads((lab.root / "decisions.json").read_text())
    assert "accept" in {value["choice"] for value in kept.values()}
    assert page.locator("table.px-table", has_text="rechecked").count() == 1
