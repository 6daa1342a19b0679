"""What a run needs on a machine that is not here: its program compiled for it, and what the program says of itself."""
