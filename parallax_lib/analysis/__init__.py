"""Statistics over the tables of a run: rates, intervals, comparisons, branch selection, rechecks.

Knows tables.  Knows nothing of how runs are made.
"""
