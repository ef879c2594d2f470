"""The page's answers against naive twins, and what its server refuses; no browser (tests/browser has one)."""

import html
import json
import re
import threading
from http.client import HTTPConnection

import frames
import numpy as np
import pandas as pd
import pytest
from test_plots import Tags

from parallax_lib.analysis import metrics
from parallax_lib.analysis.decisions import decide, program_key
from parallax_lib.analysis.view import api, compare, dataset, listing, notebook, page_files, program, server, tree
from parallax_lib.analysis.view.programs import Programs
from parallax_lib.analysis.view.text_index import TextIndex
from parallax_lib.core.errors import UserError

RESULTS, ROLLOUTS = frames.results(), frames.rollouts().assign(root=lambda rows: rows["task"], resample=0)
SCORES = frames.scores(ROLLOUTS)
TEXTS = ["code", "log", "source_code", "task", "plan"]


@pytest.fixture
def data(tmp_path):
    tables = {"results": RESULTS, "rollouts": ROLLOUTS, "scores": SCORES}
    return dataset.frame_dataset(tables, tmp_path / "decisions.json", "frames")


@pytest.fixture
def view(data):
    return api.View(data)


# the table


def test_the_index_finds_the_rows_that_pythons_in_finds():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abÄß ."), rng.integers(0, 9))) for _ in range(400)] + ["", None]
    index = TextIndex(pd.Series(texts))
    for word in ("a", "ab", "Ä", "ß.", " ", "bab", "nowhere", ". a"):
        wanted = [isinstance(text, str) and word.lower() in text.lower() for text in texts]
        assert index.rows_with(word).tolist() == wanted, word
        few = np.arange(len(texts)) % 7 == 0
        assert (index.rows_with(word, few) & few).tolist() == [w and bool(f) for w, f in zip(wanted, few, strict=True)], word


def has(rows: pd.DataFrame, word: str, columns=TEXTS) -> pd.Series:
    return pd.concat([rows[c].fillna("").str.lower().str.contains(word.lower(), regex=False) for c in columns], axis=1).any(axis=1)


def test_filters_keep_the_rows_that_a_naive_search_keeps(view):
    r = RESULTS
    wanted = {
        "": r["task"].notna(),
        "GUIDED": has(r, "guided"),
        '"parallel for" -window.pwned': has(r, "parallel for") & ~has(r, "window.pwned"),
        "reason=ok arm=guided": (r["reason"] == "ok") & (r["arm"] == "guided"),
        "reason:err": r["reason"].str.contains("err"),
        "score>0.5": r["score"] > 0.5,
        "score<=0.5 -seed=1": r["score"] <= 0.5,
        "log:crash": r["log"].str.contains("crash"),
        "source:saxpy code:guided": r["code"].str.contains("guided"),
        "std::vector": has(r, "std::vector"),
        "no such text anywhere": r["task"].isna(),
        "translation:omp status:race": r["code"].str.contains("omp") & (r["reason"] == "race"),
    }
    for text, keep in wanted.items():
        assert view.programs({}).rows(text).tolist() == r.index[keep].tolist(), text


def test_pages_hold_every_row_once_in_the_order_asked_for(view):
    for sort in ("", "score", "-score", "task", "-reason"):
        pages = [view.answer("programs", {"sort": sort, "size": "7", "page": str(i)}) for i in range(7)]
        rows = [row["row"] for page in pages for row in page["rows"]]
        assert sorted(rows) == list(range(len(RESULTS))) and pages[0]["found"] == len(RESULTS)
        if sort:
            column, down = sort.lstrip("-"), sort.startswith("-")
            wanted = RESULTS.sort_values(column, ascending=not down, kind="stable", na_position="last")
            assert rows == wanted.index.tolist(), sort
    json.dumps(pages, allow_nan=False)


def test_facets_count_the_rows_that_pass(view):
    found = view.answer("programs", {"q": "arm=guided"})["facets"]
    assert dict(map(tuple, found["reason"])) == RESULTS[RESULTS["arm"] == "guided"]["reason"].value_counts().to_dict()


def test_a_wrong_filter_or_sort_is_told_in_one_line(view):
    wrong = {"'high' is no number": {"q": "score>high"}, "holds words": {"q": "arm>2"}, "did you mean 'score'": {"sort": "scor"}}
    wrong |= {"did you mean 'results'": {"table": "result"}, "no such value": {"page": "x"}}
    for said, given in wrong.items():
        with pytest.raises(UserError, match=said) as error:
            view.answer("programs", given)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no row 9999"):
        view.answer("program", {"row": "9999"})
    with pytest.raises(UserError, match="no page 'program s'.*did you mean"):
        view.answer("program s")


# one program


def plain_text(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def side(rows: list, number: int) -> list[str]:
    return [plain_text(row[number + 1]) for row in rows if row[number] is not None]


def test_both_texts_stand_whole_beside_each_other_and_marks_are_where_they_differ():
    left = frames.SOURCE + "int kept;\n" * 20 + "a = b + c;\n"
    right = frames.PARALLEL + "int kept;\n" * 20 + "a = b - c;\n"
    made = listing.aligned(left, right)
    rows = made["rows"]
    assert side(rows, 0) == left.splitlines() and side(rows, 2) == right.splitlines()
    assert [row[0] for row in rows if row[0]] == list(range(1, len(left.splitlines()) + 1))
    assert all(plain_text(row[1]) == plain_text(row[3]) for row in rows if row[4] == "=")
    [last] = [row for row in rows if row[4] == "~"]
    assert [re.findall("<mark>(.*?)</mark>", plain) for plain in (last[1], last[3])] == [["+"], ["-"]]
    assert made["changed"] == sum(row[4] != "=" for row in rows) == 2
    for first, final, _ in made["folds"]:
        assert {row[4] for row in rows[first : final + 1]} == {"="} and final - first + 1 >= listing.FOLD


HEAD = """#include <cstdio>
#include <cstdlib>

static double half(double x) {
  const char *no_end = "{";  // }
  return x / 2;
}

"""
BODY = """void work(int n, double *y) {
  for (int i = 0; i < n; i++)
    y[i] = half(y[i]);
  y[0] += 1;
  y[1] += 1;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    printf("usage: work n\\n");
    return 1;
  }
  int n = atoi(argv[1]);
  double *y = new double[n]();
  work(n, y);
}
"""


def test_parts_that_a_translation_copies_are_folded_by_name_and_what_stands_near_a_change_is_not():
    changed = BODY.replace("  for", "  #pragma omp parallel for\n  for", 1)
    made = listing.aligned(HEAD + BODY, HEAD + changed)
    texts = [plain_text(row[3]) for row in made["rows"]]
    at = texts.index("void work(int n, double *y) {")
    assert made["folds"] == [[0, at - 1, "includes, half"], [texts.index("  y[1] += 1;"), len(texts) - 1, "main"]]
    moved = listing.aligned(HEAD + BODY, HEAD + BODY.replace("work(n, y);", "work(y, n);"))
    shown = {i for i in range(len(moved["rows"])) if not any(first <= i <= last for first, last, _ in moved["folds"])}
    differs = next(i for i, row in enumerate(moved["rows"]) if row[4] != "=")
    assert [what for _, _, what in moved["folds"]] == ["includes, half, work, reading of arguments"]
    assert shown == set(range(differs - listing.CONTEXT, len(moved["rows"])))


def test_lines_keep_their_order_when_blocks_of_unlike_lines_change():
    rng = np.random.default_rng(1)
    for _ in range(30):
        left, right = ("\n".join(rng.choice(["x = 1;", "y += x;", "for (;;) {", "}", "foo(bar, 2);"], rng.integers(0, 25))) for _ in "ab")
        rows = listing.aligned(left, right)["rows"]
        assert side(rows, 0) == left.splitlines() and side(rows, 2) == right.splitlines()


def test_a_hostile_program_stays_text(view):
    for row in range(0, len(RESULTS), 5):
        made = view.answer("program", {"row": str(row)})
        for line in made["listing"]["rows"]:
            found = Tags(line[1] + line[3])
            assert set(found.tags) <= {"span", "mark"} and not found.handlers
    [evil] = [line[3] for line in listing.aligned("", frames.EVIL)["rows"]]
    assert "&lt;script&gt;" in evil and "⟨U+202E⟩" in plain_text(evil)


def test_a_log_names_lines_of_the_code_by_number_and_by_printed_label():
    code = 'int main() {\n  report("heat", a);\n}\n'
    log = "main.cpp:2:3: error: x\nmain.cu(1): warning\ninput 1: line 1 (heat), number 1: got 1, expected 2\nmain.cpp:99: beyond\nnothing"
    assert [line["line"] for line in program.log_lines(log, code)] == [2, 1, 2, None, None]


def test_the_ladder_stops_where_the_verdict_does_and_the_words_name_its_parts():
    for level in range(6):
        states = [step["state"] for step in program.ladder({"level": level})]
        assert states == ["reached"] * level + (["stopped"] + ["open"] * (4 - level) if level < 5 else [])
    evidence = {"parallel": "yes", "parallel_evidence": "4 threads", "race_free": "no", "race_evidence": "line 3"}
    said = " ".join(program.in_words({"reason": "race"} | evidence))
    assert "data race" in said and "4 threads" in said and "line 3" in said


def test_a_program_knows_its_siblings_and_its_neighbours_under_the_filter(view):
    task = RESULTS["task"][5]
    made = view.answer("program", {"row": "5", "q": f"task={task}", "sort": "-arm"})
    order = RESULTS[RESULTS["task"] == task].sort_values("arm", ascending=False).index.tolist()
    at = order.index(5)
    assert made["around"]["found"] == len(order) and made["around"]["at"] == at
    padded = [None, *order, None]
    assert (made["around"]["previous"], made["around"]["next"]) == (padded[at], padded[at + 2])
    assert sorted(s["row"] for s in made["siblings"]) == sorted(set(order) - {5})
    assert made["applies"] == 1


# trees, scores, comparisons


def test_a_tree_has_a_leaf_a_trajectory_with_its_scores_words_and_choosers(data):
    task = ROLLOUTS["task"][0]
    own = ROLLOUTS[ROLLOUTS["task"] == task]
    choices = pd.DataFrame({"capture_id": [own["capture_id"].iloc[1]] * 2, "task": task, "arm": "guided", "seed": [0, 1]})
    data.given["cross_validation"], data.tables = choices, (*data.tables, "cross_validation")
    made = tree.tree(data, task, "ridge")
    leaves = made["roots"][0]["leaves"]
    assert [leaf["depth"] for leaf in leaves] == sorted(own["branch_depth"]) and made["models"] == ["transformer", "ridge"]
    for leaf in leaves:
        there = SCORES[(SCORES["capture_id"] == leaf["capture_id"]) & (SCORES["model"] == "ridge")].sort_values("depth")["score"]
        assert leaf["scores"] == pytest.approx(there.tolist(), abs=1e-4)
        assert leaf["reason"] == own["reason"][leaf["row"]]
    assert [leaf["chosen"] for leaf in leaves] == [[], [["guided", "PRM-guided", "2 of 2 seeds"]], [], []]
    with pytest.raises(UserError, match="no collected trajectory of 'nothing'"):
        tree.tree(data, "nothing")


def test_scores_draw_every_row_and_a_box_narrows_all_else(view):
    made = view.answer("scores", {"model": "ridge", "depth": "1"})
    here = SCORES[(SCORES["model"] == "ridge") & (SCORES["depth"] == 1)]
    assert made["points"]["row"] == list(range(len(ROLLOUTS))) and made["points"]["y"] == pytest.approx(here["score"].round(4).tolist())
    assert sum(b["n"] for b in made["reliability"]) == len(ROLLOUTS) == sum(row["n"] for row in made["table"]["rows"])
    box = view.answer("scores", {"model": "ridge", "depth": "1", "box": "0,10,0.5,1"})
    inside = ROLLOUTS[(here["score"].round(4) >= 0.5).to_numpy()]
    assert box["selected"]["n"] == len(inside) == sum(b["n"] for b in box["reliability"]) and len(box["points"]["row"]) == len(ROLLOUTS)
    good = {row["value"]: row["validated"] for row in box["table"]["rows"]}
    assert good == pytest.approx(inside.groupby("direction")["validated"].mean().to_dict(), abs=1e-4)


def test_methods_are_compared_task_by_task(view):
    made = view.answer("methods", {"a": "guided", "b": "random"})
    told = metrics.paired(RESULTS, "guided", "random")
    outcomes = pd.Series([task["outcome"] for task in made["tasks"]]).value_counts()
    assert [int(outcomes.get(name, 0)) for name in ("win", "tie", "loss")] == [told["wins"], told["ties"], told["losses"]]
    for task in made["tasks"]:
        a, b = RESULTS.loc[task["row_a"]], RESULTS.loc[task["row_b"]]
        assert a["task"] == b["task"] == task["task"] and (a["arm"], b["arm"]) == ("guided", "random")
        assert task["outcome"] == ("tie" if a["validated"] == b["validated"] else "win" if a["validated"] else "loss")


def test_what_became_of_each_verdict_is_a_crosstab_of_the_pairs(data, tmp_path):
    changed = RESULTS.copy()
    changed.loc[:9, ["reason", "validated"]] = ["timeout", False]
    other = dataset.frame_dataset({"results": changed.iloc[::-1][:-3]}, tmp_path / "d.json", "new")
    made = api.View(data, other).answer("runs")
    both = RESULTS.loc[3:].assign(now=changed["reason"][3:])
    table = pd.crosstab(both["reason"], both["now"])
    assert {(a, b): n for a, b, n in made["matrix"]} == {(a, b): n for a, row in table.iterrows() for b, n in row.items() if n}
    assert (made["paired"], made["only_old"], made["only_new"]) == (len(both), 3, 0)
    assert made["lost"] == int(RESULTS["validated"][3:10].sum()) and made["won"] == 0
    assert {row["row_a"] for row in made["rows"]} == {i for i in range(3, 10) if RESULTS["reason"][i] != "timeout"}
    pair = api.View(data, other).answer("pair", {"a": str(made["rows"][0]["row_a"]), "b": str(made["rows"][0]["row_b"]), "side": "other"})
    assert pair["same"] and pair["sides"][1]["reason"] == "timeout"


def test_an_earlier_verdict_in_the_table_itself_is_compared(data):
    data.given["results"] = data.given["results"].assign(was="ok")
    made = compare.rejudged(Programs(data, "results"))
    assert made["lost"] == int((~RESULTS["validated"]).sum()) and made["paired"] == len(RESULTS)


def test_the_map_of_failures_is_a_crosstab(view):
    made = view.answer("failures", {"q": "direction=serial-omp", "by": "arm"})
    part = RESULTS[RESULTS["direction"] == "serial-omp"]
    table = pd.crosstab(part["reason"], part["arm"])
    for reason, counts in made["rows"]:
        assert counts == [int(table.loc[reason, arm]) for arm in made["columns"]]
    assert made["totals"] == [int((part["arm"] == arm).sum()) for arm in made["columns"]] and made["found"] == len(part)


# the desk


def test_a_decision_moves_the_rate_and_the_queue_and_a_mark_comes_first(view, data):
    first = view.answer("desk")
    row = next(r["row"] for r in first["rows"] if not RESULTS["validated"][r["row"]] and RESULTS["reason"][r["row"]] != "not_checkable")
    made = view.answer("decide", {}, {"row": row, "choice": "accept", "note": "fine", "reviewer": "me"})
    assert made["decision"]["choice"] == "accept" and made["next"] not in (None, row)
    after = view.answer("desk")
    assert row not in [r["row"] for r in after["rows"]] and after["decided"] == 1 and view.answer("desk", {"show": "decided"})["found"] == 1
    rates = [{r["arm"]: r for r in each["rates"]}[RESULTS["arm"][row]] for each in (first, after)]
    assert rates[1]["automatic"] == rates[0]["automatic"] == rates[0]["rechecked"] < rates[1]["rechecked"]
    marked = int(RESULTS.index[RESULTS["reason"] == "compile_error"][0])
    decide(data.notes, RESULTS.loc[marked].to_dict(), "recheck")  # as a program's page does
    top = view.answer("desk")["rows"][0]
    assert (top["row"], top["why"]) == (marked, "a person marked it")
    view.answer("decide", {}, {"row": row, "choice": None})
    assert program_key(RESULTS.loc[row]) not in json.loads(data.notes.read_text())


def test_next_undecided_walks_the_whole_queue(view):
    queue = [r["row"] for r in view.answer("desk", {"show": "all"})["rows"]]
    row, walked = queue[0], []
    while row is not None:
        walked.append(row)
        row = view.answer("decide", {}, {"row": row, "choice": "unsure"})["next"]
    assert walked == queue and view.answer("desk")["found"] == 0


# what is opened


def test_files_of_every_kind_open_and_what_is_no_table_of_programs_is_told(tmp_path):
    light = RESULTS.drop(columns=["direction", "validated"])
    light.to_parquet(tmp_path / "a.parquet")
    light.to_csv(tmp_path / "a.csv", index=False)
    light.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        made = api.View(dataset.open_dataset(tmp_path / name)).answer("programs", {"q": "reason=ok"})
        assert made["found"] == (RESULTS["reason"] == "ok").sum(), name
    (tmp_path / "b.csv").write_text("task,text\nx,y\n")
    (tmp_path / "c.txt").write_text("x")
    wrong = {"b.csv": "no column 'code'", "c.txt": "cannot be read; a table ends in", "nowhere": "no such run, folder or file"}
    for name, said in wrong.items():
        with pytest.raises(UserError, match=said):
            dataset.open_dataset(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no table results or rollouts"):
        dataset.open_dataset(tmp_path / "empty")


def test_the_study_that_ships_opens_with_sources_trees_and_scores():
    shipped = api.View(dataset.open_dataset())
    about = shipped.answer("open")
    assert about["tree"] and about["scores"] == ["rollouts", "results"] and about["tables"][0]["rows"] == 12_600
    made = shipped.answer("program", {"row": "10"})
    assert made["has"] == {"source": True, "code": True} and made["log"][0]["line"]
    found = shipped.answer("tree", {"task": made["facts"]["task"]})["roots"][0]["leaves"]
    assert len(found) == 8 and all(None not in leaf["scores"] for leaf in found)


# who may ask


@pytest.fixture
def ask(view):
    with server.start(view, 0) as at:
        threading.Thread(target=at.serve_forever, daemon=True).start()

        def asked(method: str, path: str, body: str | None = None, **headers: str):
            port = at.server_address[1]
            link = HTTPConnection("127.0.0.1", port)
            link.request(method, path, body, {"Host": f"127.0.0.1:{port}"} | {k.replace("_", "-"): v for k, v in headers.items()})
            reply = link.getresponse()
            return reply.status, reply.read().decode(), reply.headers

        yield asked
        at.shutdown()


def test_the_server_answers_this_machine_and_nobody_else(ask, data):
    status, text, headers = ask("GET", "/api/programs?q=reason%3Dok")
    assert status == 200 and json.loads(text)["found"] == (RESULTS["reason"] == "ok").sum()
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert ask("GET", "/view.js")[1] == page_files.script() and ask("GET", "/")[1] == page_files.page()
    change = json.dumps({"row": 0, "choice": "accept"})
    for refused in (
        ask("GET", "/api/programs", Host="evil.example"),
        ask("POST", "/api/decide", change, Content_Type="application/json", Origin="http://evil.example"),
        ask("POST", "/api/decide", change, Content_Type="text/plain"),
        ask("POST", "/api/decide", "{" * 10, Content_Type="application/json"),
        ask("GET", "/../../etc/passwd"),
    ):
        assert refused[0] >= 400 and "\n" not in json.loads(refused[1])["error"]
    for path in ("/api/decide?row=0&choice=accept", "/api/program?row=99999", "/api/nowhere"):
        assert json.loads(ask("GET", path)[1])["error"].count("\n") == 0, path
    assert not data.notes.exists()
    assert ask("POST", "/api/decide", change, Content_Type="application/json")[0] == 200 and data.notes.exists()


def test_a_cell_asks_over_the_kernels_connection(view):
    page, sent = notebook.Page(view, "/scores"), []
    page.send = sent.append
    page.asked(page, {"id": 1, "path": "programs", "given": {"q": "reason=ok"}})
    page.asked(page, {"id": 2, "path": "programs", "given": {"q": "score>x"}})
    assert json.loads(sent[0]["answer"])["found"] == (RESULTS["reason"] == "ok").sum() and sent[0]["id"] == 1
    assert sent[1]["id"] == 2 and "is no number" in sent[1]["error"]
    assert "export default" in page._esm and page.address == "/scores"
