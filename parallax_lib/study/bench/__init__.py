"""What this machine could do, and what the engine, PRM training and files reach of it.

`options` has the command.  Random weights stand in for a model's: neither time nor memory depends on their values.
"""
