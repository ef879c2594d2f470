"""Parallax: reward-guided latent reasoning for parallel code translation (serial C++, OpenMP, CUDA)."""

__version__ = "0.1.0"

import sys

if sys.version_info < (3, 11, 5):  # re matches possessive quantifiers wrongly there, so that printed numbers would be misread
    raise ImportError(f"parallax_lib needs Python 3.11.5 or newer; this is {sys.version.split()[0]}")
