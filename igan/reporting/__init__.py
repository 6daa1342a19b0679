"""What a run leaves behind for people: metrics, pictures, a progress bar, tables and plots."""
