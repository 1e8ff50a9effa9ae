"""``python -m demo_site``: served in one command, told in plain words."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@contextmanager
def running_demo(data: Path, *arguments: str) -> Iterator[str]:
    """Run the command, give what it printed until it served, and stop it as Ctrl+C does."""
    environment = os.environ | {"CONSENT_DATA": str(data), "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [sys.executable, "-m", "demo_site", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=data.parent,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if "Ctrl+C" in line:
                break
        try:
            yield printed
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""


def get(address: str) -> tuple[int, str]:
    """Fetch a page of the demo."""
    host, _, path = address.removeprefix("http://").partition("/")
    client = http.client.HTTPConnection(host, timeout=30)
    client.request("GET", "/" + path)
    answer = client.getresponse()
    body = answer.read().decode()
    client.close()
    return answer.status, body


def test_the_next_free_port_is_taken_and_named(tmp_path: Path) -> None:
    """A taken port is no failure; the address printed is the one that answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_demo(tmp_path / "data", "--port", str(port)) as printed:
            match = re.search(r"http://127\.0\.0\.1:(\d+)/", printed)
            assert match is not None
            assert int(match[1]) > port
            assert f"Port {port} is taken, so here is {match[1]}." in printed
            assert [number for number in "123" if f"    {number}. " in printed] == ["1", "2", "3"]
            status, page = get(match[0])
    assert status == 200
    assert "Know what your ground is doing." in page
    assert "May Fernwell use optional cookies?" in page
    assert '"https://www.googletagmanager.com/' not in page
    assert (tmp_path / "data" / "keys").stat().st_mode & 0o777 == 0o600
