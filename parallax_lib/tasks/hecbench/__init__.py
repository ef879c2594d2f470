"""HeCBench as a suite: reads a checkout, its Makefiles and sources.  Executes nothing of it."""
