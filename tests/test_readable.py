"""Tables as readers see them, against lines written by hand."""

import pandas as pd

from parallax_lib.analysis.readable import as_text, heading


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.split("\n")]


def test_readers_see_methods_rounded_numbers_and_an_index_that_has_a_name():
    table = pd.DataFrame({"arm": ["guided", "random"], "rate": [0.50449, 1.0]}, index=[7, 9])
    assert lines(as_text(table)) == [["method", "rate"], ["guided", "0.504"], ["random", "1.000"]]
    assert lines(as_text(table, 1)) == [["method", "rate"], ["guided", "0.5"], ["random", "1.0"]]
    assert lines(as_text(table.set_index("arm"))) == [["rate"], ["method"], ["guided", "0.504"], ["random", "1.000"]]
    assert lines(as_text(table.set_index("arm")["rate"])) == [["method"], ["guided", "0.504"], ["random", "1.000"]]
    assert list(table) == ["arm", "rate"] and (heading("arm"), heading("rate"), heading(3)) == ("method", "rate", "3")
