"""The explorers' notebooks in a real JupyterLab: they run without an error, show the page, and follow the Lab's theme."""

import os
import shutil

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[browser])")
pytest.importorskip("jupyterlab")

from lab import FLAGS, FOUND, LOOK, Lab, find_browser, run_notebook  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from parallax_lib.core.config import ROOT  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_browser() is None, reason="no chromium or chrome on this machine")]
SHOTS = ROOT / "build" / "browser"
NOTEBOOKS = {"explore_failures": "Failures", "explore_scores": "Scores", "06_manual_recheck": "Recheck"}
IDLE = "() => document.querySelector('.px-view main h1') && !document.querySelector('.px-view.busy')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    for name in NOTEBOOKS:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", root)
    server = Lab(root, home, [ROOT])
    try:
        yield server.wait()
    finally:
        server.close()


@pytest.fixture
def page(lab):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.failures = []
        page.on("pageerror", lambda error: page.failures.append(str(error)))
        page.set_default_timeout(180_000)
        yield page
        assert page.failures == []
        browser.close()


def test_the_explorers_run_on_the_study_that_ships_and_follow_the_labs_theme(lab, page):
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name, title in NOTEBOOKS.items():
        run_notebook(page, lab, f"{name}.ipynb")
        page.wait_for_function(IDLE)
        assert page.locator(".px-view main h1").inner_text() == title
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr'], .jp-OutputArea-output .ansi-red-fg").count() == 0
        for theme in ("JupyterLab Light", "JupyterLab Dark"):
            page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', { theme: name })", theme)
            page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg="true" if "Light" in theme else "false")
            page.wait_for_timeout(500)
            page.locator(".px-view").scroll_into_view_if_needed()
            page.screenshot(path=SHOTS / f"lab-{name}-{theme.split()[1].lower()}.png")
            found = page.evaluate(LOOK, ".px-view")
            assert (found["contrast"], found["small"], found["tables"]) == (FOUND["contrast"], [], []), (name, theme)


def test_a_program_opens_in_the_cell_and_its_keys_reach_the_kernel(lab, page):
    run_notebook(page, lab, "explore_failures.ipynb")
    page.wait_for_function(IDLE)
    page.locator(".px-view .heat a").first.click()
    page.locator(".px-view table.programs tbody a").first.click()
    page.locator(".px-view .diff").wait_for()
    before = page.locator(".px-view h1").inner_text()
    page.locator(".px-view h1").click()
    page.locator(".px-view main").focus()
    page.keyboard.press("n")
    page.wait_for_function("old => document.querySelector('.px-view h1').innerText !== old", arg=before)
    assert os.path.basename(page.url.split("?")[0]) == "explore_failures.ipynb"  # the cell has an address of its own
