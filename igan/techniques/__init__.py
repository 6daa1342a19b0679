"""One technique a file; see `igan.game.technique` for the seams."""
