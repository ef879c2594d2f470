"""Drafts of several rows at once: what followed the same words in a row's own text before (prompt lookup decoding; Saxena, 2023).

A translation follows its source, so of several places the first one past the last copied token is taken, and a copy that was
cut short is followed by a shorter one.  Whole rows of the table are compared, on the device where it lies: no loop over rows,
nothing that the host waits for.  Knows tokens.  Knows no model.

B rows, W tokens that a row has room for, Q tokens that were drawn in one forward, C columns of a draft.
"""

from __future__ import annotations

import torch

TRUST, LEAST, MOST = 4, 2, 32  # tokens of a first draft, and the bounds of later ones
NONE = -1


class Lookups:
    """Texts of B rows, and the place in each that the next draft is copied from."""

    def __init__(self, texts: list[list[int]], room: int, device: torch.device):
        """room: tokens that a row may have beside its text."""
        longest = max(map(len, texts), default=0)
        padded = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts], dtype=torch.int32).view(len(texts), longest)
        self.text = torch.nn.functional.pad(padded, (0, room)).to(device)  # (B, W)
        self.size = torch.tensor([len(text) for text in texts], device=device)  # (B,)
        self.reach = torch.zeros_like(self.size)  # place of the next token to copy, if copying goes on
        self.trust = torch.full_like(self.size, TRUST)  # tokens that the next draft may have
        self.at = torch.full_like(self.size, NONE)  # where the draft in flight was copied from

    def keep(self, rows: torch.Tensor) -> None:
        for name in ("text", "size", "reach", "trust", "at"):
            setattr(self, name, getattr(self, name)[rows])

    def last(self, back: int = 1) -> torch.Tensor:
        """The last token but `back` - 1 of every row (B,)."""
        return self.text.gather(1, (self.size - back).clamp(min=0)[:, None])[:, 0]

    def extend(self, tokens: torch.Tensor, taken: torch.Tensor, fed: torch.Tensor | None) -> None:
        """Append the first `taken` (B,) of `tokens` (B, Q).  Of the last draft `fed` (B,) were tried; those that stand were right.

        fed: None where nothing is drafted at all.
        """
        places = self.size[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self.text.scatter_(1, places, tokens.to(self.text.dtype))  # what was not taken is written over by what is
        self.size = self.size + taken
        if fed is None:
            return
        copied = torch.minimum(taken - 1, fed)
        short = torch.minimum(self.trust, copied + 1).clamp(min=LEAST)
        trust = torch.where(copied == fed, (2 * self.trust).clamp(max=MOST), short)
        drawn = self.at >= 0
        self.reach = torch.where(drawn, self.at + copied, self.reach)
        self.trust = torch.where(drawn, trust, self.trust)

    def draft(self, most: torch.Tensor, columns: int, width: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens (B, C), how many of them each row drafts (B,)): at most `most` (B,), and what its own text has.

        width: no row's text is longer.
        """
        self.at = self._place(self.text[:, :width])
        ahead = self.at.clamp(min=0)[:, None] + torch.arange(columns, device=self.at.device)
        tokens = self.text.gather(1, ahead.clamp(max=self.text.shape[1] - 1))
        count = torch.minimum(torch.minimum(most, self.trust), self.size - self.at).clamp(0, columns)
        return tokens, count.masked_fill(self.at < 0, 0)

    def _place(self, text: torch.Tensor) -> torch.Tensor:
        """Where the text goes on as it did after its last three tokens, or else its last two; NONE without such a place."""
        W = text.shape[1]
        if W < 3:
            return torch.full_like(self.size, NONE)
        third, second, first = (self.last(back)[:, None] for back in (3, 2, 1))
        place = torch.arange(2, W, device=text.device, dtype=text.dtype)  # the token after two others
        size, reach = (x[:, None].to(text.dtype) for x in (self.size, self.reach))
        two = (text[:, :-2] == second) & (text[:, 1:-1] == first) & (place < size)
        three = torch.nn.functional.pad(text[:, :-3] == third, (1, 0)) & (size > 2)
        rank = torch.where(place >= reach, 2 * W - place, place) + 4 * W * three  # the largest one is taken
        best, at = (rank * two).max(1)
        return torch.where(best > 0, at + 2, NONE)
