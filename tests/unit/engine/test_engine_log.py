from __future__ import annotations

from pathlib import Path

import pytest

from appliance.engine.engine_log import TAIL_BYTES, advice, last_error, rotate

ENGINE_LOG = """\
(EngineCore pid=7) INFO 11-24 07:05:22 [core.py:127] Initializing a V1 LLM engine
(Worker pid=9) ERROR 11-24 07:05:40 [multiproc_executor.py:980] WorkerProc failed to start.
(Worker pid=9) ERROR 11-24 07:05:40 [multiproc_executor.py:980] Traceback (most recent call last):
(Worker pid=9) ERROR 11-24 07:05:40 [multiproc_executor.py:980]   File "loader.py", line 3, in load
(Worker pid=9) ERROR 11-24 07:05:40 [multiproc_executor.py:980] torch.OutOfMemoryError: CUDA out of memory.
(EngineCore pid=7) ERROR 11-24 07:05:41 [core.py:1210] EngineCore failed to start.
Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace.
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.log"


def test_the_reason_is_the_first_hand_error_nearest_to_the_end(log: Path) -> None:
    log.write_text("ValueError: an older one\n" + ENGINE_LOG)
    assert last_error(log) == "OutOfMemoryError: CUDA out of memory."


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ValueError: no such model", "ValueError: no such model"),
        ("  huggingface_hub.errors.RepositoryNotFoundError: 404  ", "RepositoryNotFoundError: 404"),
        ("SystemExit: 3", "SystemExit: 3"),
        ("pkg.mod.CustomException: it: broke", "CustomException: it: broke"),
    ],
)
def test_an_error_is_told_as_one_line_without_its_module(log: Path, line: str, told: str) -> None:
    log.write_text(f"INFO starting\n{line}\nINFO ending\n")
    assert last_error(log) == told


@pytest.mark.parametrize(
    "text",
    ["", "INFO all is well\n", "RuntimeError: Engine core initialization failed.\n", "an error: in lower case\n"],
)
def test_a_log_without_a_first_hand_error_tells_none(log: Path, text: str) -> None:
    log.write_text(text)
    assert last_error(log) is None


def test_a_log_that_is_not_there_tells_none(log: Path) -> None:
    assert last_error(log) is None


def test_only_the_end_of_a_long_log_is_read(log: Path) -> None:
    log.write_text("ValueError: long ago\n" + "x\n" * TAIL_BYTES)
    assert last_error(log) is None


def test_bytes_that_are_no_text_do_not_hide_the_reason(log: Path) -> None:
    log.write_bytes(b"\xff\xfe\nValueError: b\xfcd\n\x80")
    assert last_error(log) == "ValueError: b�d"


def test_a_new_log_keeps_the_last_one_and_no_more(log: Path) -> None:
    for text in ("first", "second"):
        log.write_text(text)
        rotate(log)
    assert not log.exists()
    assert log.with_name("worker-0.log.1").read_text() == "second"


def test_the_first_log_finds_its_folder_made(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker-0.log"
    rotate(log)
    assert list(log.parent.iterdir()) == []


WRAPPED = (
    "RuntimeError: Worker failed with error 'Available memory on node 0 (19/23 GiB) on kv cache allocation is less "
    "than requested memory for kv (30.0 GiB). Decrease --kv-cache-memory-bytes.', please check the stack trace above"
)


def test_an_error_of_a_worker_loses_the_frame_around_it(log: Path) -> None:
    log.write_text(WRAPPED)
    told = last_error(log)
    assert told is not None
    assert told.startswith("RuntimeError: Available memory on node 0")
    assert told.endswith("--kv-cache-memory-bytes.")


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        (WRAPPED, "cache.gpu.bytes"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "workers.gpu_memory_utilization"),
        ("RuntimeError: Insufficient space for shared-memory allocation", "--shm-size"),
        ("ValueError: To serve at least one request with the models's max seq len (40000)", "model.max_model_len"),
    ],
)
def test_what_can_be_done_is_said_in_terms_of_our_settings(log: Path, line: str, setting: str) -> None:
    log.write_text(line)
    assert setting in advice(log)
    assert str(log) in advice(log)


def test_without_advice_the_log_is_named(log: Path) -> None:
    assert advice(log) == f"The engine's own log: {log}"
