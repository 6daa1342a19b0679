"""The life of a run, from a config to its summary. It knows no formula."""
