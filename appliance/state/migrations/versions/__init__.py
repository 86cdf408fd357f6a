"""One module a version, the oldest first."""
