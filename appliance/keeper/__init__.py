"""The keeper: a process of its own that writes what is in the host arena to a disk, and brings it back when asked."""
