"""Work cut in halves when memory runs out: nothing is done twice, order stays, what one item needs is raised."""

from functools import partial

import pytest
import torch

from parallax_lib.core.halving import Halving


def machine(room, calls):
    """A call that takes at most `room` items at once; `calls` gets the size of each."""

    def act(part):
        calls.append(len(part))
        if len(part) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [2 * item for item in part]

    return act


@pytest.mark.parametrize("room", [1, 3, 7, 50])
def test_what_fits_is_found_once_and_nothing_is_done_twice(room):
    calls, gave_back, halving = [], [], Halving()
    parts = halving.map(machine(room, calls), range(20), partial(gave_back.append, 1))
    assert [x for part in parts for x in part] == [2 * i for i in range(20)]
    failed = [n for n in calls if n > room]
    assert sum(calls) - sum(failed) == 20 and len(gave_back) == len(failed)
    assert failed == [n for n in (20, 10, 5, 3, 2) if n > room]
    calls.clear()
    halving.map(machine(room, calls), range(20), list)
    assert not [n for n in calls if n > room]  # the next one starts as small


def test_parts_before_the_failure_are_kept():
    calls = []

    def act(part):
        calls.append(part)
        if len(part) > 1 and 6 in part:
            raise MemoryError
        return part

    assert Halving(4).map(act, list(range(8)), list) == [[0, 1], [2, 3], [4, 5], [6], [7]]
    assert calls[:3] == [[0, 1], [2, 3], [4, 5]] and calls[3:] == [[6, 7], [6], [7]]


def test_what_cannot_be_halved_is_raised():
    for room, halve in ((0, True), (3, False)):
        calls = []
        with pytest.raises(torch.OutOfMemoryError):
            Halving().map(machine(room, calls), range(4), list, halve=halve)
        assert calls == ([4, 2, 1] if halve else [4])
    calls = []

    def fails(part):
        calls.append(part)
        raise ValueError("other")

    with pytest.raises(ValueError):
        Halving().map(fails, range(4), list)
    assert len(calls) == 1
    assert Halving().map(len, range(10), list, least=3) == [4, 4, 2]
    assert Halving().map(len, [], list) == []
