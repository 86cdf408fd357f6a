"""One file of fixed rows on a disk, each of which says what it holds and proves it, and an index of them in memory."""
