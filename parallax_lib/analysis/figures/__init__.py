"""Figures, interactive explorers and the HTML report, drawn from the tables of a run."""
