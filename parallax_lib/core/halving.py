"""Work that is cut in halves when memory runs out: what is done stays done, and what follows starts as small.

Knows lists and errors.  Knows no model and no GPU.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from parallax_lib.core.executors import is_out_of_memory


class Halving:
    """How many parts this process cuts its work in, which only grows."""

    def __init__(self, parts: int = 1):
        self.parts = parts

    def map(self, act: Callable[[list], Any], items: Sequence, release: Callable[[], None], least: int = 1, halve: bool = True) -> list:
        """[`act(part)`] for the parts of `items` in order.  Memory that runs out halves the part and all after it; nothing is done twice.

        release: gives back what the failed call held.  least: parts to begin with.  halve: False leaves the first failure to the
        caller.  What one item alone needs, and every other error, is raised.
        """
        left, done = _even(items, -(-len(items) // max(self.parts, least))), []
        while left:
            try:
                done.append(act(left[0]))
                left.pop(0)
                continue
            except Exception as error:
                if not halve or len(left[0]) == 1 or not is_out_of_memory(error):
                    raise
                traceback.clear_frames(error.__traceback__)  # they hold the tensors that left no room
            release()
            size = -(-len(left[0]) // 2)
            self.parts = max(self.parts, -(-len(items) // size))
            left = _even([item for part in left for item in part], size)
        return done


class Shrinking:
    """How much one call takes at most, which only falls: half as much from where memory ran out."""

    def __init__(self, most: int):
        self.most = most

    def tried(self, work: Callable[[], Any], release: Callable[[], None], least: int = 1, able: bool = True) -> Any:
        """`work()`, which reads `most` and begins anew at every call; again with half of it where memory runs out.

        release: gives back what the failed call held.  Every other error is raised, and memory that runs out where `most` is not
        above `least`, or not `able`: in one of several processes it cannot be mended alone.
        """
        while True:
            try:
                return work()
            except Exception as error:
                if not able or self.most <= least or not is_out_of_memory(error):
                    raise
                traceback.clear_frames(error.__traceback__)  # they hold the tensors that left no room
            self.most //= 2
            release()


def _even(items: Sequence, size: int) -> list[list]:
    return [list(items[at : at + size]) for at in range(0, len(items), max(1, size))]
