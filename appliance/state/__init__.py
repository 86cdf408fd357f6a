"""What the box remembers over restarts, in one SQLite file."""
