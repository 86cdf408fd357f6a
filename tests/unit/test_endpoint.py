from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from appliance.endpoint import UNIX_PATH_BYTES, bind_tcp, bind_unix, url_of
from appliance.errors import StartError


def test_port_0_takes_a_free_one_and_the_url_reaches_it() -> None:
    with bind_tcp("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, "127.0.0.1") == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


async def test_small_pieces_are_sent_at_once() -> None:
    """Without waiting for the client to confirm the piece before, which takes it 40 ms."""
    delays: asyncio.Queue[bool] = asyncio.Queue()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        delays.put_nowait(not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bind_tcp("127.0.0.1", 0)
    async with await asyncio.start_server(serve, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert not await asyncio.wait_for(delays.get(), 10)
        writer.close()


def test_a_taken_port_is_named_with_a_way_out() -> None:
    with bind_tcp("127.0.0.1", 0) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(StartError, match=rf"server.host = '127.0.0.1', server.port = {port}: .+in use") as caught:
            bind_tcp("127.0.0.1", port)
    assert "--port 0" in (caught.value.hint or "")


def test_a_host_that_is_not_here_is_named() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1"):
        bind_tcp("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "reachable"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("localhost", "localhost")],  # noqa: S104 – not bound
)
def test_a_url_names_a_host_that_this_machine_can_reach(host: str, reachable: str) -> None:
    with bind_tcp("127.0.0.1", 0) as listener:
        assert url_of(listener, host) == f"http://{reachable}:{listener.getsockname()[1]}"


def test_a_unix_socket_is_for_this_user_only_and_replaces_a_stale_file(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("stale")
    with bind_unix(path), socket.socket(socket.AF_UNIX) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client.connect(str(path))


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    path = tmp_path / ("x" * UNIX_PATH_BYTES)
    with pytest.raises(StartError, match=r"paths.runtime: .+ is too long for a socket"):
        bind_unix(path)


def test_the_longest_path_that_the_kernel_takes_is_taken(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (UNIX_PATH_BYTES - 2 - len(bytes(tmp_path))))
    assert len(bytes(path)) == UNIX_PATH_BYTES - 1
    bind_unix(path).close()
