"""What the benches count, against other counts of the same; and each command at its smallest."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from parallax_lib.__main__ import main
from parallax_lib.analysis.figures import speed
from parallax_lib.core.errors import UserError
from parallax_lib.study.bench import engine_bench, random_models
from parallax_lib.study.bench.report import Ceilings, Report, read
from parallax_lib.translator import engine

TINY = engine_bench.Engine("small", batches=(2,), prompt=8, tokens=3, reading=(2, 8), guided=(8, 2, 2), translations=(3, 40))


@pytest.fixture(scope="module")
def translator():
    return random_models.translator("small")


def test_a_fraction_is_1_at_the_ceiling_and_less_below_it_for_rates_and_for_times():
    heard = []
    report = Report(heard.append)
    report.add("rate", 50.0, "TFLOP/s", 200.0)
    report.add("time", 8.0, "ms", 2.0, transformers=16.0)
    report.add("alone", 3.0, "GiB")
    assert [row.get("fraction") for row in report.rows] == [0.25, 0.25, None]
    assert len(heard) == 3 and "25%" in heard[0] and "transformers 16 (2.00 x)" in heard[1]
    assert json.loads(report.as_json(bench="x"))["measurements"] == report.rows


def test_files_of_benches_are_read_as_one_table_and_drawn(tmp_path):
    for name, gpus, step in (("one", 1, 8.0), ("two", 2, 5.0)):
        report = Report()
        report.add("weights", 3.0, "GiB")
        report.add("step", step, "ms", 2.0, transformers=16.0)
        (tmp_path / f"{name}.json").write_text(report.as_json(bench="engine", shape="7b", gpus=gpus, device="H200"))
    table = read(tmp_path)
    assert table["machine"].tolist() == ["H200, 7b, 1"] * 2 + ["H200, 7b, 2"] * 2
    assert table["beside"].tolist() == ["", "transformers 16 (2.00 x)", "", "transformers 16 (3.20 x)"]
    figure = speed.fractions(table)
    assert [list(bar.x) for bar in figure.data] == [[0.4], [0.25]] and "5 ms" in figure.data[0].customdata[0]
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="other.json: not what"):
        read(tmp_path)
    assert not speed.fractions(table.iloc[:0]).data


def test_the_least_time_is_that_of_the_slower_of_reading_and_computing():
    limits = Ceilings(copy=1e9, product=1e12)
    assert limits.ms(2e6) == pytest.approx(2) and limits.ms(2e6, 1e9) == pytest.approx(2) and limits.ms(2e6, 5e9) == pytest.approx(5)


def test_operations_are_those_that_torch_counts(translator):
    embeds = torch.zeros(2, 8, translator.width)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        translator.body(inputs_embeds=embeds, use_cache=False)
    products = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "attention" not in str(op))
    norms = sum(p.numel() for n, p in translator.body.layers.named_parameters() if p.dim() == 1)
    assert 2 * (engine_bench._layers(translator) - norms) * 16 == pytest.approx(products)
    assert norms < engine_bench._layers(translator) / 100


def test_bytes_are_those_of_the_cache_and_of_the_weights(translator):
    state = engine.prefill(translator, [[1] * 8] * 2)
    held = sum(x.numel() * x.element_size() for pair in state.slab.used() for x in pair)
    assert 2 * 8 * engine_bench._column(translator) == held
    every = sum(p.numel() * p.element_size() for p in translator.model.parameters())
    words = 512 * translator.width * 4
    assert engine_bench._read(translator) == every - words and engine_bench._read(translator, head=False) == every - 2 * words


def test_a_bench_of_the_engine_measures_all_and_compares_with_transformers():
    report = Report()
    about = engine_bench.measure(TINY, report)
    assert about["captured"] is False and about["gpus"] == 1
    told = {row["what"]: row for row in report.rows}
    assert all(row["measured"] > 0 for row in report.rows)
    step = told["decoding step, 2 rows behind 8 tokens"]
    assert step["fraction"] == pytest.approx(step["ceiling"] / step["measured"]) and step["transformers_static"] > 0
    (drafted,) = [row for what, row in told.items() if what.startswith("3 translations")]
    assert float(drafted["what"].split()[-4]) > 3 and drafted["without"] > 0  # a row and forward writes more than a token
    assert told["guided search P=8 K=2 N=2, with a PRM"]["naive"] > 0


def test_transformers_static_step_is_the_engine_s_greedy_step(translator):
    """What is timed beside the engine computes the same: its tokens are those of the engine's decoding."""
    seen = []
    head = translator.model.lm_head.register_forward_hook(lambda module, given, out: seen.append(out[:, -1].argmax(-1).tolist()))
    try:
        engine_bench.static_step(translator, 2, TINY)
    finally:
        head.remove()
    state = engine.prefill(translator, [engine_bench._prompt(8)])
    state = engine.select(state, torch.tensor([0, 0]))
    answers = engine_bench.decoding.decode(translator, state, [[1]] * 2, [], limits=[len(seen)] * 2, draft=0)
    assert [list(row) for row in zip(*seen, strict=True)] == [a.tokens for a in answers]


@pytest.mark.parametrize("what", [["prm", "--rows", "8", "--lora", "2"], ["store", "--rows", "300"]])
def test_the_command_prints_a_line_of_json_last_and_keeps_it(what, tmp_path, capsys):
    folder = ["--folder", str(tmp_path)] if what[0] == "store" else []
    assert main(["bench", *what, *folder, "--out", str(tmp_path / "out.json")]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    told = json.loads(line)
    assert told["bench"] == what[0] and told["rows"] == int(what[2]) and told["measurements"]
    assert (tmp_path / "out.json").read_text() == line + "\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
