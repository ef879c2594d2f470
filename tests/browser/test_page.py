"""The page of `view` in headless Chromium: every page in both themes and at a phone's width, keys, addresses, decisions.

Screenshots are left in build/browser/.  Each page is looked at by the same rules: no error in the console, contrast of at least 4.5,
text of at least 11 pixels, captions and scopes on tables, nothing wider than the window, no markup of a program obeyed.
"""

import json
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[browser])")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run alone

import frames  # noqa: E402
import pandas as pd  # noqa: E402
from lab import FLAGS, FOUND, LOOK, find_browser  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from parallax_lib.analysis.view import api, dataset, server  # noqa: E402
from parallax_lib.core.config import ROOT  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_browser() is None, reason="no chromium or chrome on this machine")]
SHOTS = ROOT / "build" / "browser"
IDLE = "() => document.querySelector('main h1') && !document.querySelector('.px-view.busy')"


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def study():
    with server.start(api.View(dataset.open_dataset())) as at:
        threading.Thread(target=at.serve_forever, daemon=True).start()
        yield at.url
        at.shutdown()


@pytest.fixture
def own(tmp_path):
    """(address, file of decisions) of small tables full of hostile texts, compared with the same under other verdicts."""
    results, rollouts = frames.results(), frames.rollouts().assign(root=lambda rows: rows["task"], resample=0)
    choices = pd.DataFrame({"capture_id": rollouts["capture_id"][::4], "task": rollouts["task"][::4], "arm": "guided", "seed": 0})
    tables = {"results": results, "rollouts": rollouts, "scores": frames.scores(rollouts), "cross_validation": choices}
    other = results.copy()
    other.loc[:5, ["reason", "validated"]] = ["timeout", False]
    data = dataset.frame_dataset(tables, tmp_path / "d.json", "frames")
    view = api.View(data, dataset.frame_dataset({"results": other}, tmp_path / "e.json", "again"))
    with server.start(view) as at:
        threading.Thread(target=at.serve_forever, daemon=True).start()
        yield at.url, data.notes
        at.shutdown()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.failures = []
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    page.on("console", lambda said: said.type in ("error", "warning") and page.failures.append(said.text))
    page.set_default_timeout(60_000)
    yield page
    assert page.evaluate("() => window.pwned") is None
    assert page.failures == []
    context.close()


def opened(page, url: str, address: str) -> None:
    page.goto("about:blank")
    page.goto(f"{url}#{address}")
    page.wait_for_function(IDLE)


PAGES = {
    "programs": "/programs", "program": "/program/results/10", "failures": "/failures", "scores": "/scores", "recheck": "/recheck",
    "tree": "/tree/n_mirror_1000169.cuda-omp", "compare": "/compare", "verdicts": "/compare?table=rollouts&how=verdicts",
    "pair": "/pair?a=10&b=8",
}  # fmt: skip


def test_every_page_of_the_study_can_be_read_in_either_theme_and_on_a_phone(study, page):
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width, height in ((1280, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for name, address in PAGES.items():
            page.emulate_media(color_scheme="light")
            opened(page, study, address)
            assert page.locator(".error").count() == 0, page.locator(".error").first.inner_text()
            for theme in ("light", "dark"):  # an open page follows the theme
                page.emulate_media(color_scheme=theme)
                page.screenshot(path=SHOTS / f"{name}-{theme}-{width}.png")
                found = page.evaluate(LOOK, ".px-view")
                assert {what: found[what] for what in FOUND} == FOUND, (name, theme, width)


def test_hostile_programs_are_shown_and_not_obeyed(own, page):
    url, _ = own
    for address in ("/programs?q=window.pwned", "/program/results/1", "/program/rollouts/0", "/recheck", "/tree/saxpy.serial-omp",
                    "/scores", "/pair?a=0&b=1", "/compare?how=runs"):  # fmt: skip
        opened(page, url, address)
        assert page.locator(".px-view :is(script, img, iframe)").count() == 0
    opened(page, url, "/program/results/1")
    assert "<script>" in page.locator(".diff").inner_text()


def test_typing_filters_and_the_address_keeps_it(own, page):
    url, _ = own
    opened(page, url, "/programs")
    page.locator("#px-filter").type("reason=ok arm=guided")
    wanted = ((frames.results()["reason"] == "ok") & (frames.results()["arm"] == "guided")).sum()
    page.wait_for_function("n => document.querySelectorAll('table.programs tbody tr').length === n", arg=int(wanted))
    assert page.evaluate("() => document.activeElement.id") == "px-filter"
    page.reload()
    page.wait_for_function("n => document.querySelectorAll('table.programs tbody tr').length === n", arg=int(wanted))
    page.locator("#px-filter").fill("score>x")
    page.get_by_role("alert").wait_for()
    assert "is no number" in page.get_by_role("alert").inner_text()
    page.locator("#px-filter").fill("")
    page.wait_for_function("() => !document.querySelector('.error')")
    page.get_by_role("button", name="score", exact=True).click()
    page.wait_for_function("() => document.querySelector('th[aria-sort=ascending]')?.innerText.startsWith('score')")
    page.locator("details.columns summary").click()
    page.get_by_label("decode_tokens").uncheck()
    assert "decode_tokens" not in page.locator("table.programs thead").inner_text()


def test_keys_walk_open_decide_and_change_the_theme(own, page):
    url, notes = own
    opened(page, url, "/programs?q=arm%3Dguided")
    for key in ("n", "n", "p", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("() => location.hash.startsWith('#/program/results/')")
    page.wait_for_function(IDLE)
    row, rows = int(page.url.split("/results/")[1].split("?")[0]), frames.results().query("arm == 'guided'").index
    assert row == rows[1]
    page.keyboard.press("a")
    page.wait_for_function("row => location.hash.includes('/results/' + row)", arg=int(rows[2]))
    page.wait_for_function(IDLE)
    [kept] = json.loads(notes.read_text()).values()
    assert kept["choice"] == "accept" and kept["reviewer"] and kept["verdict"]["reason"] == frames.results()["reason"][row]
    page.keyboard.press("m")
    page.get_by_text("Decided: recheck").wait_for()
    page.go_back()
    page.get_by_text("Decided: accept").wait_for()
    page.keyboard.press("t")
    assert page.locator(".px-view").get_attribute("data-theme") == "light"
    page.keyboard.press("?")
    assert "accept" in page.locator("dialog").inner_text()
    page.get_by_role("button", name="close").click()
    opened(page, url, "/recheck")  # a mark that was set on a program's page comes first here
    assert "a person marked it" in page.locator(".queue li").first.inner_text()


def test_a_log_line_jumps_to_the_code_and_folds_open(study, page):
    opened(page, study, "/program/results/10")
    folded = page.locator("tr.fold").count()
    page.locator(".log .jump").first.click()
    page.wait_for_selector("tr.here")
    assert '"vals"' in page.locator("tr.here").inner_text()
    page.get_by_role("button", name="unfold all").click()
    assert folded >= 1 and page.locator("tr.fold").count() == 0
    assert page.locator("td.code mark").count() > 5 and page.locator("td.code .s-k").count() > 5


def test_a_box_selects_and_a_click_on_a_point_and_on_a_leaf_opens_its_program(own, page):
    url, _ = own
    opened(page, url, "/scores")
    canvas = page.locator("canvas.cloud")
    canvas.scroll_into_view_if_needed()
    at = canvas.bounding_box()
    page.mouse.move(at["x"] + 50, at["y"] + 12)
    page.mouse.down()
    page.mouse.move(at["x"] + at["width"] - 12, at["y"] + at["height"] / 2, steps=4)
    page.mouse.up()
    page.get_by_role("heading", name="Selected programs").wait_for()
    chosen = page.locator("section, div").get_by_role("region", name="selected programs").locator("tbody tr").count()
    assert 0 < chosen < len(frames.rollouts())
    page.get_by_role("button", name="clear the selection").click()
    page.wait_for_function("() => !location.hash.includes('box')")
    opened(page, url, "/tree/saxpy.serial-omp")
    assert page.locator("svg.tree .edge.chosen").count() >= 1 and page.locator("svg.tree .leaf").count() == 4
    page.locator("svg.tree .leaf").nth(2).click()
    page.wait_for_function("() => location.hash.startsWith('#/program/rollouts/')")


def test_methods_and_runs_open_both_programs(own, page):
    url, _ = own
    opened(page, url, "/compare?a=guided&b=random&show=all")
    page.locator("tbody a").first.click()
    page.wait_for_function("() => location.hash.startsWith('#/pair')")
    page.wait_for_function(IDLE)
    assert page.locator(".pair section").count() == 2
    opened(page, url, "/compare?how=runs")
    assert page.locator("table.matrix strong a").count() >= 1
    page.locator("table.matrix strong a").first.click()
    page.wait_for_function("() => location.hash.includes('from=')")


def test_the_desk_goes_on_to_the_next_undecided(own, page):
    url, notes = own
    opened(page, url, "/recheck")
    first = page.locator(".panel h2").inner_text()
    page.get_by_role("button", name="reject").click()
    page.wait_for_function("old => document.querySelector('.panel h2')?.innerText !== old", arg=first)
    assert [value["choice"] for value in json.loads(notes.read_text()).values()] == ["reject"]
    assert "1 program of" in page.locator("main").inner_text() and page.locator("caption", has_text="decisions laid on top").count() == 1
