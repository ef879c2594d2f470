"""The stages of the study over a run folder; the notebooks and the command line call these.

Holds no method of its own: a formula or a rule found here belongs in its package.
"""
