"""One reader of JSON Lines: what a line may be, where it stands, and what is said of one that is no object."""

import json

import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.core.json_lines import read_objects


def test_lines_end_at_newlines_only_and_empty_ones_are_passed_over_on_demand():
    rows = [{"a": "x\u2028y\x85"}, {"b": [1, None]}]
    data = "\ufeff" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert list(read_objects(data.encode(), "f", "no")) == [("f: line 1", rows[0]), ("f: line 2", rows[1])]
    assert list(read_objects(b'\n{"a": 1}\n \n', "f", "no", blank=True)) == [("f: line 2", {"a": 1})]


def test_a_line_that_is_no_object_is_named():
    for line in (b"5", b"null", b'["a"]', b"{", b"", b"\xff"):
        with pytest.raises(UserError, match="^f: line 2: expected a row ") as error:
            list(read_objects(b"{}\n" + line + b"\n{}\n", "f", "expected a row"))
        assert "\n" not in str(error.value)
