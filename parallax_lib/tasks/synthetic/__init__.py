"""Generated kernels: grammars, right and realistically wrong programs from them, and fine-tuning pairs.

`generator` draws a kernel from a seed; `codegen` writes it for an API and a strategy.
"""
