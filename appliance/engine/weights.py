"""A short name for the weights of a model, so that what one made is never read by another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
EDGE_BYTES = 1 << 20
"""Read at each end of a file: all of it would take as long as loading the model."""


def weights_digest(source: str, load_format: str) -> str:
    """Of a folder its configuration and, for each file of weights, name, size and both ends; of a hub name itself.

    Weights that were changed in place between the ends, size kept, are taken for the same.
    """
    digest = hashlib.sha256(f"{load_format}\0".encode())
    folder = Path(source)
    if not folder.is_dir():
        digest.update(source.encode())
    for file in _files(folder):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        for part in _ends(file):
            digest.update(part)
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    found = {file for pattern in ("config.json", *WEIGHTS) for file in folder.glob(pattern)}
    return sorted(file for file in found if file.is_file())


def _ends(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        yield stream.read(EDGE_BYTES)
        stream.seek(max(0, file.stat().st_size - EDGE_BYTES))
        yield stream.read(EDGE_BYTES)
