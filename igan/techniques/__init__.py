"""One technique a file; see `igan.technique` for the seams."""
