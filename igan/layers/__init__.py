"""One Flax layer a file."""
