"""Runs one untrusted command under limits and returns what it printed and how it ended.

Levels: bubblewrap, or Landlock (`degraded`), or refuse.  Knows nothing of what the programs mean.
"""
