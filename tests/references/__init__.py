"""Independent implementations that igan is checked against; nothing here imports igan."""
