"""Collects rollouts, chooses among candidates, and translates with or without a PRM.

Selection rules stand here and nowhere else.  Knows nothing of figures.
"""
