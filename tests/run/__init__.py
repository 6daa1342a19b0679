"""Of igan/run: the life of a run."""
