"""Which hand-written kernels are one algorithm: shared stretches of program text, and twins that somebody named.

Knows program texts as tokens.  Knows nothing of suites, files, splits or verdicts.

A shingle is `SHINGLE` tokens in a row; identifiers are kept, numbers and strings are blanked.  Comments, #include lines and statements
that read arguments, take times, print, or allocate are passed over.  A shingle of more than `COMMON` kernels is boilerplate.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import combinations

from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from parallax_lib.core.cpp_text import pieces

SHINGLE = 6  # tokens
COMMON = 5  # kernels that may share a shingle
LIMIT = 0.3  # kernels that share more than this of the shorter program are one cluster
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*include.*$|^[ \t]*using\b.*$", re.M)
BOILERPLATE = re.compile(
    r"\b(argc|argv|usage|f?printf|cout|cerr|chrono|gettimeofday|timer?|exit|malloc|free"
    r"|cudaMalloc|cudaFree|cudaMemcpy|cudaEvent\w*|cudaGetLastError|cudaDeviceSynchronize)\b",
    re.I,
)


def shingles(text: str) -> set[bytes]:
    """Digests of the program's shingles, without boilerplate statements."""
    words = list(_words(text))
    return {blake2b("\0".join(words[i : i + SHINGLE]).encode(), digest_size=8).digest() for i in range(len(words) - SHINGLE + 1)}


def _words(text: str) -> Iterable[str]:
    statement: list[str] = []
    for kind, word in pieces(DIRECTIVE.sub("", text.replace("\\\n", " "))):
        if kind != "skip":
            statement.append({"text": '""', "raw": '""', "number": "0"}.get(kind, word))
        if word in (";", "{", "}"):
            yield from () if BOILERPLATE.search(" ".join(statement)) else statement
            statement = []
    yield from statement


def containments(programs: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], float]:
    """(kernel, kernel) -> the largest share of a program's shingles that stand in a program of the other, of the shorter of the two.

    programs: kernel -> texts of its programs.  Pairs that share nothing are not named.  Linear in the text but for shared shingles.
    """
    found = {name: [shingles(text) for text in texts] for name, texts in programs.items()}
    kernels = Counter(shingle for sets in found.values() for shingle in set().union(*sets))
    own = {(name, i): {s for s in each if kernels[s] <= COMMON} for name, sets in found.items() for i, each in enumerate(sets)}
    holders = defaultdict(list)
    for program, each in own.items():
        for shingle in each:
            holders[shingle].append(program)
    shared = Counter(pair for each in holders.values() for pair in combinations(each, 2) if pair[0][0] != pair[1][0])
    most: dict[tuple[str, str], float] = defaultdict(float)
    for (a, b), count in shared.items():
        pair = (a[0], b[0]) if a[0] < b[0] else (b[0], a[0])
        most[pair] = max(most[pair], count / min(len(own[a]), len(own[b])))
    return dict(most)


def clusters(programs: Mapping[str, Iterable[str]], twins: Iterable[Iterable[str]] = ()) -> list[list[str]]:
    """Kernels that share more than `LIMIT`, or are twins, directly or through others: sorted lists of names, sorted."""
    names = sorted(programs)
    place = {name: i for i, name in enumerate(names)}
    links = [pair for pair, share in containments(programs).items() if share > LIMIT]
    links += [(group[0], other) for each in twins if (group := [name for name in each if name in place]) for other in group[1:]]
    rows, columns = [place[a] for a, _ in links], [place[b] for _, b in links]
    _, label = connected_components(coo_array(([1] * len(links), (rows, columns)), shape=(len(names),) * 2), directed=False)
    members = defaultdict(list)
    for name, number in zip(names, label, strict=True):
        members[number].append(name)
    return sorted(members.values())
