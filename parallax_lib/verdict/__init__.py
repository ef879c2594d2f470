"""Judges a program as a translation: compile, run on hidden inputs, compare, prove parallel work, check races.

Start with `validate`.  Knows nothing of models, latents or rewards.
"""
