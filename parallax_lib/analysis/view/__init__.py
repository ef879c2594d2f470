"""A page over the tables of a run: programs, latent trees, scores, comparisons and the recheck desk.

`api` answers questions as plain JSON, `server` serves them to a browser on this machine, `notebook` to a cell.  Knows tables, verdict
columns and texts.  Knows nothing of how a run is made; only `rerun` builds and runs a program, through `verdict`.
"""
