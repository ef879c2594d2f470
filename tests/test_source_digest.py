"""What changes the digest of code, and what does not; what has no code to read is refused in one line."""

import functools
import subprocess
import sys
import threading
import types

import numpy as np
import pandas as pd
import pytest
import torch

from parallax_lib.core.config import ROOT
from parallax_lib.core.errors import UserError
from parallax_lib.core.settings import Params
from parallax_lib.core.source import source_digest
from parallax_lib.prm import train
from parallax_lib.search import guided_search, policies, rollouts
from parallax_lib.study import cross_validation
from parallax_lib.study.run import Run
from parallax_lib.translator import proposals

MODULE = '''
"""A method."""
import math
from functools import cache, partial, wraps
LIMIT = 3
_loaded = {}
TABLE = {"a": 1}

class Rule:
    """A rule."""
    factor = 2

    def apply(self, x):
        return self.factor * x

@cache
def helper(x):
    # as published
    return min(x, LIMIT)

def scaled(fn):
    @wraps(fn)
    def both(x):
        return 2 * fn(x)
    return both

@scaled
def inner(x):
    return x + 1

def method(x, power=2):
    """What it does."""
    _loaded[x] = [y for y in range(3) if y in {"one", "two", "three"}]
    return helper(x) ** power + Rule().apply(x) + inner(x) + TABLE["a"]
'''


def method(text):
    module = types.ModuleType("mine")
    exec(compile(text, "/somewhere/mine.py", "exec"), vars(module))
    return module.method


def test_code_and_constants_count_and_comments_and_what_was_loaded_do_not():
    first = method(MODULE)
    before = source_digest(first)
    for same in ("", "    # another remark\n"):
        text = MODULE.replace("    # as published\n", same).replace("What it does.", "Text.").replace("A rule.", "Rule.")
        assert source_digest(method(text)) == before
    first(1)
    assert source_digest(first) == before  # `_loaded` holds something now
    for old, new in (
        ("LIMIT = 3", "LIMIT = 4"), ("factor = 2", "factor = 3"), ("self.factor * x", "self.factor - x"),
        ("min(x, LIMIT)", "max(x, LIMIT)"), ("2 * fn(x)", "3 * fn(x)"), ("x + 1", "x + 2"), ("power=2", "power=3"),
        ('"a": 1', '"a": 2'), ('"three"', '"four"'),
    ):  # fmt: skip
        assert MODULE.count(old) == 1 and source_digest(method(MODULE.replace(old, new))) != before, old


def test_a_cells_functions_differ_by_what_they_do_hold_and_close_over():
    def scaled(by):
        return lambda h: by * h

    module, array = torch.nn.Linear(2, 1), np.arange(3)
    other = torch.nn.Linear(2, 1)
    other.load_state_dict(module.state_dict())
    different = [
        *(lambda h: h, lambda h: -h),  # one line, two functions
        scaled(2), scaled(3), scaled(array), scaled(array + 1), scaled(module), scaled(torch.nn.Linear(2, 1)),
        functools.partial(scaled, 2), functools.partial(scaled, 3), module, torch.nn.Linear(2, 1), types.MethodType(scaled, 1),
    ]  # fmt: skip
    digests = [source_digest(f) for f in different]
    assert len(set(digests)) == len(digests) == len({source_digest(f) for f in different})
    assert source_digest(scaled(array.copy())) == digests[4] and source_digest(other.eval()) == digests[10]


def test_a_version_is_taken_instead_of_the_code():
    def one(h):
        return h

    def two(h):
        return -h

    one.version = two.version = 1
    with_one = source_digest(one)
    two.__qualname__ = one.__qualname__
    assert source_digest(two) == with_one
    one.version = 2
    assert source_digest(one) != with_one


def test_what_has_no_code_to_read_is_refused_in_one_line():
    lock = threading.Lock()
    for given in (len, torch.tanh, lambda: lock):
        with pytest.raises(UserError, match="cannot be read.*`version`") as refused:
            source_digest(given)
        assert "\n" not in str(refused.value)


def test_a_patched_function_of_the_library_counts(monkeypatch):
    before = rollouts.made_by(Params()), guided_search.made_by(Params())
    monkeypatch.setattr(policies, "ranked", lambda values, margin, width: values[:, 0, :width].long())
    assert rollouts.made_by(Params()) == before[0] and guided_search.made_by(Params()) != before[1]
    monkeypatch.setattr(proposals, "normal", lambda seeds, shape: torch.zeros(len(seeds), *shape))
    assert rollouts.made_by(Params()) != before[0]


def test_every_process_gives_the_same_digest():
    text = "from parallax_lib.core.settings import Params\nfrom parallax_lib.search import guided_search as g\nprint(g.made_by(Params()))"
    env = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "3", "PATH": ""}
    told = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True).stdout
    assert told.strip() == guided_search.made_by(Params())


def test_trainings_of_other_code_have_other_names(monkeypatch, tmp_path):
    rows = pd.DataFrame({"capture_id": ["a"], "reward": [1.0], "family": ["f"]})
    run, vectors = Run(Params.model_validate({"prm": {"folds": 2}}), tmp_path, None, print), np.zeros((1, 2, 3), np.float16)
    names = cross_validation.trainings(run, rows, vectors, 0)
    assert cross_validation.trainings(run, rows, vectors, 0) == names
    monkeypatch.setattr(train, "update", lambda *given: 0.0)
    assert not set(names) & set(cross_validation.trainings(run, rows, vectors, 0))


def test_slots_of_built_in_types_are_known_by_name():
    """They have no module of their own."""
    added, joined = int.__add__, int.__sub__
    assert not hasattr(added, "__module__")

    def one():
        return added(1, 2)

    def other():
        return joined(1, 2)

    assert source_digest(one) == source_digest(one) and source_digest(one) != source_digest(other)


def test_a_method_that_is_kept_out_of_compiled_code_counts_as_it_is():
    """A process that has compiled a model finds what it wrote before."""

    class Plain:
        def update(self, x):
            return x + 1

    before = source_digest(Plain)
    Plain.update = torch.compiler.disable(Plain.update)
    assert source_digest(Plain) == before
    Plain.update = torch.compiler.disable(lambda self, x: x + 2)
    assert source_digest(Plain) != before
