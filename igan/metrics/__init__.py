"""Scores of generated images under named protocols. `python -m igan.metrics --help` is the command line."""
