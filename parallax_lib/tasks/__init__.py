"""What is to be translated: kernels, suites of them, and the prompts that ask for a translation.

A `Task` is one kernel, one source API and one target API.  Knows nothing of models or verdicts.
"""
