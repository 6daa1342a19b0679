"""Of igan/game: one update, and what plays it."""
