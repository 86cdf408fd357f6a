"""A store that outlives the machine and may be shared by several boxes: an object store, a folder, Valkey or Redis."""
