"""CUDA C++ on a CPU: rewrites a .cu file so that a host compiler builds it against the headers in `include/`.

Knows C++ text.  Knows nothing of verdicts, sandboxes or the study.
"""
