"""What every other package stands on: errors, settings, files and journals, hardware, executors.

Read `settings` for every setting and its default, `storage` for the journal and tables.  Knows nothing of programs, models or rewards.
"""
