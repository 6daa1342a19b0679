"""Of igan/techniques."""
