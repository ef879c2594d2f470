"""What ends an answer: an end of text, or the fence that closes its program.

Knows tokens and their text.  Knows no model's forward and no task.

V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import torch

from parallax_lib.translator.language_model import Translator

FENCE = re.compile(r"(?m)^[ \t]*```")
LINE = 64  # tokens in which the start of a fence's line is looked for
END, FENCED = 1, 2  # kinds of tokens: one that ends every answer, one that holds a fence


class Stops(NamedTuple):
    """What ends an answer: an end-of-text token, or a code fence that stands first on its line.  A fence in a string is the program's."""

    ends: frozenset[int]
    fences: frozenset[int]  # every token that contains one
    text: Callable[[list[int]], str]
    opened: bool = True  # the answer began inside a block; else the first fence opens one

    def may(self, token: int) -> bool:
        return token in self.fences or token in self.ends

    def kinds(self, vocabulary: int) -> torch.Tensor:
        """(V,) END, FENCED or 0 for every token."""
        out = torch.zeros(vocabulary, dtype=torch.uint8)
        for kind, tokens in ((END, self.ends), (FENCED, self.fences)):
            out[[token for token in tokens if token < vocabulary]] = kind
        return out

    def __call__(self, tokens: list[int]) -> bool:
        """Whether the last of an answer's tokens ends it."""
        if tokens[-1] not in self.fences:
            return tokens[-1] in self.ends
        said = self.text(tokens[-LINE:])
        fence = said.rfind("```")
        first = not said[said.rfind("\n", 0, max(fence, 0)) + 1 : max(fence, 0)].strip()
        return first and (self.opened or len(FENCE.findall(self.text(tokens))) > 1)


def stops_of(translator: Translator, opened: bool = True) -> Stops:
    """The stops of a model and its tokenizer; opened: an answer begins inside a code block."""
    tokenizer = translator.tokenizer
    ends = translator.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
    return Stops(frozenset(e for e in ends if e is not None), translator.tokens_with("```"), tokenizer.decode, opened)
