"""Every wrong parameter gets one line: what, where, how to mend it."""

import subprocess
import sys

import pytest

from parallax_lib.__main__ import main
from parallax_lib.core.config import ROOT, check, id_or_folder, load, load_file
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.search import methods
from parallax_lib.study import inference, pipeline
from parallax_lib.study import run as runs


def write(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: a\nsearch:\n  branchs: 4\n", "x.yaml: line 3: unknown key 'search.branchs'; did you mean 'branches'?"),
        ("serch: {}\n", "x.yaml: line 1: unknown key 'serch'; did you mean 'search'?"),
        ("prm:\n  epochs: 3\n  epochs: 4\n", "x.yaml: line 3: duplicate key 'prm.epochs', first given on line 2"),
        ("latent: {steps: many}\n", "x.yaml: line 1: latent.steps: input should be a valid integer"),
        (
            "suite: {directions: [omp-serail]}\n",
            "x.yaml: suite.directions: 'omp-serail' is not one of serial-omp, serial-cuda, omp-cuda, cuda-omp",
        ),
        ("- 1\n", "x.yaml: line 1: expected 'key: value' lines"),
        ("a: [\n", "x.yaml: not valid YAML"),
        ("run: ../x\n", "must be a plain name"),
        ("executor: {kind: dask}\n", "x.yaml: executor.address: name the Dask scheduler"),
        ("reward: {spec: 3}\n", "input should be a valid string"),
        (
            "search:\n  choose: thoughts\n",
            "x.yaml: line 2: search.choose: 'thoughts' is called 'trajectories' now; write that",
        ),
        ("card:\n  seeds: [0]\n", "x.yaml: line 1: 'card' is called 'report' now; write that"),
        (
            "collect:\n  limit: 1\n  influence_limit: 2\n",
            "x.yaml: line 3: 'collect.influence_limit' is called 'collect.sensitivity_limit' now; write that",
        ),
        (
            "search:\n  arms: [guided, run_filter]\n",
            "x.yaml: line 2: search.arms: 'run_filter' is called 'execution_filter' now; write that",
        ),
        ("suite: 3\n", "x.yaml: line 1: suite is a section of 'key: value' lines, got 3"),
        ("suite: {kinds: []}\n", "x.yaml: line 1: suite.kinds: name at least one, got []"),
        ("suite: {[a]: 1}\n", "x.yaml: not valid YAML: while constructing a mapping"),
        ("1: 2\n", "x.yaml: line 1: a key must be a word, got '1'"),
        ("run: !!python/name:os.system\n", "x.yaml: not valid YAML: could not determine a constructor"),
        ("suite:\n  <<: 3\n", "x.yaml: not valid YAML: while constructing a mapping"),
        ("&a\nsuite: *a\n", "x.yaml: line 2: unknown key 'suite.suite'"),
        ("suite: &a\n  kinds: [*a]\n", "x.yaml: line 2: suite.kinds.0: input should be"),
        ("run: " + "[" * 5000, "x.yaml: not valid YAML: nested too deeply"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError) as e:
        load_file(write(tmp_path, text))
    assert message in str(e.value) and "\n" not in str(e.value)


def test_what_is_no_text_file_is_told_in_one_line(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\x80\x81")
    for path, message in ((tmp_path / "x.yaml", "not a text in UTF-8"), (tmp_path, "cannot be read")):
        with pytest.raises(UserError, match=message) as refused:
            load_file(path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("item", ["suite.kinds=[x", "run=!!python/name:os.system", "seed=2020-99-99", "a..b=1", "=1"])
def test_a_set_that_is_no_value_is_named_in_one_line(tmp_path, item):
    with pytest.raises(UserError) as refused:
        load_file(write(tmp_path, "run: a\n"), (item,))
    assert str(refused.value).startswith(f"--set {item}: ") and "\n" not in str(refused.value)


def test_a_missing_file_names_those_there_are():
    with pytest.raises(UserError, match=r"nope.yaml: no such parameter file; params/ holds .*demo.yaml"):
        load_file(ROOT / "params" / "nope.yaml")


def test_exponents_without_a_dot_are_numbers(tmp_path):
    assert load_file(write(tmp_path, "prm: {lr: 1e-5}\n")).prm.lr == 1e-5


def test_sets_win_over_the_file(tmp_path):
    params = load_file(write(tmp_path, "search: {branches: 3, limit: 9}\n"), ("search.branches=5", "suite.directions=[omp-cuda]"))
    assert (params.search.branches, params.search.limit, params.suite.directions) == (5, 9, ("omp-cuda",))


def test_a_notebook_override_goes_on_top_of_the_named_file():
    params = load("tiny", search={"branches": 9})
    assert params.translator.model == "random" and params.search.branches == 9
    assert params.search.limit == load("tiny").search.limit


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_files_load_and_hold_only_differences(path):
    params = load_file(path)
    assert params.run == path.stem
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 12
    default = Params()
    for section, value in params:
        for name in getattr(value, "model_fields_set", ()):
            assert getattr(value, name) != getattr(getattr(default, section), name), f"{path.name}: {section}.{name} repeats the default"


@pytest.mark.parametrize("section, value, message", [
    ("search", {"seeds": [0, 0]}, "search.seeds: .* twice"),
    ("search", {"seeds": []}, "search.seeds"),
    ("decode", {"batch": -3}, "decode.batch"),
    ("latent", {"steps": -1}, "latent.steps"),
    ("latent", {"tau": 0}, "latent.tau"),
    ("latent", {"proposal": "mc_dropout"}, "keep all of them below 1"),
    ("suite", {"test_fraction": 3}, "suite.test_fraction"),
    ("collect", {"limit": -1}, "collect.limit"),
    ("collect", {"limit": 0}, "collect.limit: 0 collects nothing"),
    ("report", {"shares": [1.5]}, "report.shares"),
    ("executor", {"workers": 0}, "executor.workers"),
    ("prm", {"batch": 0}, "prm.batch"),
])  # fmt: skip
def test_values_that_make_no_run_are_refused(section, value, message):
    with pytest.raises(UserError, match=message) as refused:
        load("x", **{section: value})
    assert "\n" not in str(refused.value)


def test_dropout_below_one_is_a_proposal():
    assert load("x", latent={"proposal": "mc_dropout"}, collect={"sensitivity_sigmas": [0.0, 0.5]}).latent.sigma == 0.5


@pytest.mark.parametrize(("given", "means"), [("off", "off"), ("on", "on"), ("'off'", "off"), ("auto", "auto"), ("yes", "on")])
def test_on_and_off_need_no_quotes(given, means):
    assert load_file(ROOT / "params" / "tiny.yaml", (f"validation.races={given}",)).validation.races == means


@pytest.mark.parametrize("item", ["search.branches=eight", "search.armes=[guided]", "validation.timing=auto"])
def test_a_bad_set_is_told_as_it_was_given_and_blames_no_line_of_the_file(item):
    with pytest.raises(UserError) as refused:
        load_file(ROOT / "params" / "tiny.yaml", (item,))
    assert str(refused.value).startswith(f"--set {item}: ") and "line" not in str(refused.value)


def test_the_guided_filter_needs_whole_trajectories_that_guidance_scores():
    def checked(*sets):
        methods.check(load_file(ROOT / "params" / "tiny.yaml", sets))

    arms = "search.arms=[guided, guided_filter]"
    with pytest.raises(UserError, match="guided_filter needs the arm guided, search.choose trajectories"):
        checked(arms)
    fit = ("search.choose=trajectories", arms, "search.branches=4", "search.samples=4")
    checked(*fit)
    for broken in ("search.samples=3", "search.margin=0.1"):
        with pytest.raises(UserError, match="search.samples of at least search.branches and no margin"):
            checked(*fit, broken)


def test_an_arm_or_a_policy_that_is_not_there_is_refused_before_anything_runs():
    for given, message in (
        ({"arms": ["unguided", "giuded"]}, "search.arms: there is no 'giuded'; did you mean 'guided'?"),
        ({"choose": "trajectores"}, "search.choose: there is no 'trajectores'; did you mean 'trajectories'?"),
    ):
        params = load("tiny", search=given)
        for begin in (pipeline.run, lambda params: inference.translate_all(runs.open_params(params), [])):
            with pytest.raises(UserError) as refused:
                begin(params)
            assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("item", ["prm.kind=gruu", "prm.baselines=[rige]"])
def test_a_misspelt_kind_of_prm_is_not_looked_for_on_a_hub(item):
    with pytest.raises(UserError, match=r"is no kind of PRM; did you mean '(gru|ridge)'\?"):
        load_file(ROOT / "params" / "tiny.yaml", (item,))


@pytest.mark.parametrize("name", ["someone/transformer", "./gru", "gpt2"])
def test_a_model_of_nearly_that_name_is_not_misspelt(name):
    assert load_file(ROOT / "params" / "tiny.yaml", (f"prm.kind={name}",)).prm.kind == name


def test_sets_that_only_fit_together_are_taken_together():
    params = load_file(ROOT / "params" / "tiny.yaml", ("search.beam=6", "search.branches=8"))
    assert (params.search.beam, params.search.branches) == (6, 8)


def test_a_run_s_name_is_that_of_one_folder(tmp_path):
    for name in ("", "a" * 101, "a" * 5000, "é" * 60, "a/b", "..", ".x", " ", "a\nb", "a\\b", "a\0b", "\ud800"):
        for act in (lambda name=name: check({"run": name}, {}, tmp_path / "x.yaml"), lambda name=name: load(name)):
            with pytest.raises(UserError, match="must be a plain name of 1 to 100 bytes") as refused:
                act()
            assert "\n" not in str(refused.value) and len(str(refused.value)) < 250
    for name in ("demo", "7b v1.2", "é" * 50):
        assert load(name).run == name


def test_paths_of_any_length_are_looked_for(tmp_path):
    with pytest.raises(UserError, match="no such parameter file"):
        load_file("a" * 5000)
    assert id_or_folder("a" * 5000) == "a" * 5000


def test_a_name_that_is_in_no_table_is_refused_by_every_command_with_the_nearest_one(capsys):
    for given, message in (
        ("latent.proposal=gausian", "latent.proposal: there is no 'gausian'; did you mean 'gaussian'?"),
        ("latent.align=rigde", "latent.align: there is no 'rigde'; did you mean 'ridge'?"),
        ("reward.spec=best", "reward.spec: there is no 'best'; it takes executable, paper"),
        ("prm.loss=listwize", "prm.loss: there is no 'listwize'; did you mean 'listwise'?"),
        ("report.losses=[mse, xyz]", "report.losses: there is no 'xyz'; it takes mse, huber, bce, orm, rank, listwise"),
        ("suite.kinds=[hecbecnh]", "suite.kinds: there is no 'hecbecnh'; did you mean 'hecbench'?"),
    ):
        for command, *more in (["run"], ["collect", "--out", "nowhere"], ["size"]):
            assert main([command, str(ROOT / "params" / "tiny.yaml"), "--set", given, *more]) == 2
            assert message in capsys.readouterr().err


def test_settings_are_read_without_torch():
    code = "import sys, parallax_lib.core.config; assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
