"""Imports that are made lighter.

Knows names of modules of other projects.  Knows nothing of this one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

GRAMMAR = "rfc3987_syntax"


@contextmanager
def without_grammar_of_iris() -> Iterator[None]:
    """Inside, jsonschema is imported as if a package that it can do without were not installed.

    That package parses a grammar of IRIs whenever it is imported: more than a second of CPU time.  papermill and plotly import jsonschema
    by way of nbformat, and no schema of a notebook has an IRI.
    """
    loaded = GRAMMAR in sys.modules
    sys.modules.setdefault(GRAMMAR, None)  # None: an import of it is an ImportError
    try:
        yield
    finally:
        if not loaded:
            del sys.modules[GRAMMAR]
