"""The pure part: one update of the game and what plays it. It knows no file, no config and no clock."""
