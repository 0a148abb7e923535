"""nginx as a reverse proxy, and other programs that may not be installed."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.engines import free_port
from tests.service.process import Running

PATIENCE = 20
"""Seconds until a test fails: test machines are busy."""


def require_program(program: str) -> str:
    """Return the path of a program; skip the test if it is not installed, or fail in CI."""
    found = shutil.which(program)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"{program} is not installed (apt-get install nginx apache2-utils netcat-openbsd)")
    assert found is not None
    return found


@dataclass(frozen=True)
class Proxy:
    plain: str
    """URL of nginx with its default settings: HTTP/1.0 and a new connection for each request."""
    keep_alive: str
    """URL of nginx with HTTP/1.1 and keep-alive connections."""


@contextmanager
def behind_nginx(server: Running, directory: Path) -> Iterator[Proxy]:
    plain, keep_alive = free_port(), free_port()
    temporary = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = f"""
        {"user root;" if os.geteuid() == 0 else ""}
        daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
        events {{}}
        http {{
            access_log off; client_max_body_size 50m; {temporary}
            upstream kept {{ server {server.url.removeprefix("http://")}; keepalive 4; keepalive_timeout 4s; }}
            server {{
                listen 127.0.0.1:{plain};
                location / {{ proxy_pass {server.url}; }}
                location /ml/ {{ proxy_pass {server.url}/; proxy_set_header X-Forwarded-Prefix /ml; }}
            }}
            server {{
                listen 127.0.0.1:{keep_alive};
                location / {{ proxy_pass http://kept; proxy_http_version 1.1; proxy_set_header Connection ""; }}
            }}
        }}
    """
    (directory / "nginx.conf").write_text(configuration)
    command = [require_program("nginx"), "-p", str(directory), "-e", str(directory / "error.log")]
    process = subprocess.Popen([*command, "-c", str(directory / "nginx.conf")])
    try:
        end = time.monotonic() + PATIENCE
        for port in (plain, keep_alive):
            while not accepts_connections(port):
                assert process.poll() is None, (directory / "error.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
        yield Proxy(f"http://127.0.0.1:{plain}", f"http://127.0.0.1:{keep_alive}")
    finally:
        process.terminate()
        process.wait(PATIENCE)


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
