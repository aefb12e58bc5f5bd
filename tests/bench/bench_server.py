"""The webhook port: a good client's latency while others are slow; gunicorn and plain waitress beside ours."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import answering, cpu, free

ROWS = ("server",)
ROUNDS = 200
SLOW = (0, 8, 200, 500)
PATIENCE = 4
"""Seconds that a good client waits; who is not answered in that time is answered when the slow ones are gone."""
BODY = b"x" * 8192
SELF = Path(__file__)


def app(environ, start_response):  # type: ignore[no-untyped-def]
    """What every candidate serves: an HMAC over 8 KB, as the webhook edge does first."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    start_response("202 Accepted", [("Content-Length", "0")])
    return [b""]


CANDIDATES = {
    "ours (waitress, strict, deadlines)": [sys.executable, str(SELF), "ours"],
    "waitress as it is, 8 threads": [sys.executable, str(SELF), "waitress"],
    "gunicorn gthread, 8 threads": [
        *(
            sys.executable,
            "-m",
            "gunicorn",
            "-k",
            "gthread",
            "--threads",
            "8",
            "--no-control-socket",
            "--log-level",
            "error",
        ),
        *("--chdir", str(SELF.parent), "bench_server:app", "-b"),
    ],
}


def main() -> None:
    """Print p50, p99 and CPU per request; ratios are to the first row of the same number of slow clients."""
    print(f"  {'':36}{'slow':>6}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>8}")
    for slow in SLOW:
        for name, command in CANDIDATES.items():
            port = free()
            address = f"127.0.0.1:{port}"
            process = subprocess.Popen([*command, address])
            try:
                answering(port)
                print(f"  {name:36}{slow:>6}{_measure(port, slow, process.pid)}", flush=True)
            finally:
                process.terminate()
                process.wait(10)


def _measure(port: int, slow: int, pid: int) -> str:
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(slow)]
    for connection in held:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na")
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    before, times = cpu(pid), []
    try:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            client.request("POST", "/", body=BODY)
            client.getresponse().read()
            times.append(time.perf_counter() - start)
    except TimeoutError:
        return f"{f'blocked for more than {PATIENCE} s':>26}"
    finally:
        client.close()
        for connection in held:
            connection.close()
    times.sort()
    spent = (cpu(pid) - before) / ROUNDS * 1e6
    return f"{statistics.median(times) * 1e3:9.2f}{times[int(ROUNDS * 0.99) - 1] * 1e3:9.2f}{spent:8.0f}"


def _serve(kind: str, listen: str) -> None:
    if kind == "waitress":
        from waitress import serve

        serve(app, listen=listen, threads=8, _quiet=True, connection_limit=2000, asyncore_use_poll=True)
        return
    from greenlight.service.server import serve as ours

    ours(app, listen, name="bench").start()
    sys.stdin.read() if sys.stdin.isatty() else time.sleep(3600)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
