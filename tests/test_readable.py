"""Tables as readers see them, against lines written by hand."""

import pandas as pd

from parallax_lib.analysis import registered
from parallax_lib.analysis.readable import METHODS, as_text, heading, method, versus
from parallax_lib.search.arms import ARMS


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.split("\n")]


def test_readers_see_methods_rounded_numbers_and_an_index_that_has_a_name():
    table = pd.DataFrame({"arm": ["guided", "random"], "rate": [0.50449, 1.0]}, index=[7, 9])
    assert lines(as_text(table)) == [["method", "rate"], ["guided", "0.504"], ["random", "1.000"]]
    assert lines(as_text(table, 1)) == [["method", "rate"], ["guided", "0.5"], ["random", "1.0"]]
    assert lines(as_text(table.set_index("arm"))) == [["rate"], ["method"], ["guided", "0.504"], ["random", "1.000"]]
    assert lines(as_text(table.set_index("arm")["rate"])) == [["method"], ["guided", "0.504"], ["random", "1.000"]]
    assert list(table) == ["arm", "rate"] and (heading("arm"), heading("rate"), heading(3)) == ("method", "rate", "3")


def test_figures_name_methods_in_words_and_every_method_has_words_of_its_own():
    assert method("guided+repair2") == "PRM-guided, 2 repair rounds" and method("best_of_n@cost") == "Best-of-N (likelihood), equal cost"
    assert method("sampled:oracle") == "Oracle upper bound, sampled pool" and method("mine") == "mine"
    assert versus("guided - unguided") == "PRM-guided − Unguided"
    assert {name for name in ARMS if method(name) == name} == set() and len({*map(method, ARMS)}) == len(ARMS)
    assert set(METHODS) - {"guided_mean"} <= {*ARMS, *registered.PARTS, registered.WHOLE}
