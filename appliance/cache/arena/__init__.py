"""One host arena for all engines of a box: fixed rows in shared memory, and an index that every process works on."""
