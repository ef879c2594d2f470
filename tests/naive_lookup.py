"""Prompt lookup of one row, token by token in dictionaries: the twin of `translator.lookup`."""

import bisect

NGRAM = 3  # tokens that must agree before the continuation is copied


class Lookup:
    """Every place of every n-gram of one row's text, to copy what followed it.

    A translation follows its source, so of several places the first one past the last copied token is taken, and a copy
    that was cut short is followed by a shorter one.
    """

    def __init__(self, tokens: list[int]):
        self.tokens: list[int] = []
        self.after: dict[tuple[int, ...], list[int]] = {}
        self.reach = 0  # place of the next token to copy, if copying goes on
        self.trust = 4  # tokens the next draft may have
        self.drawn: tuple[int, int] | None = None  # place and length of the draft in flight
        self.extend(tokens)

    def extend(self, tokens: list[int], fed: int | None = None) -> None:
        """Append tokens that stand; the last draft, of which `fed` tokens were tried, is judged by how many were right."""
        if self.drawn:
            at, length = self.drawn
            length = length if fed is None else fed
            copied = min(len(tokens) - 1, length)
            self.reach = at + copied
            self.trust = min(2 * self.trust, 32) if copied == length else max(2, min(self.trust, copied + 1))
            self.drawn = None
        for token in tokens:
            for n in range(2, NGRAM + 1):  # the gram that ends just before this token
                if len(self.tokens) >= n:
                    self.after.setdefault(tuple(self.tokens[-n:]), []).append(len(self.tokens))
            self.tokens.append(token)

    def draft(self, length: int) -> list[int]:
        """At most `length` tokens that followed the text's last n-gram before."""
        for n in range(NGRAM, 1, -1):
            places = self.after.get(tuple(self.tokens[-n:]))
            if places:
                ahead = bisect.bisect_left(places, self.reach)
                at = places[ahead] if ahead < len(places) else places[-1]
                found = self.tokens[at : at + min(length, self.trust)]
                self.drawn = (at, len(found))
                return found
        return []
