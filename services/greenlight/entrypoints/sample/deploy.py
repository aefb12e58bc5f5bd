"""The sample application's deployment: starts it at the promoted commit, and exits 0 once it answers.

What a deploy command gets is in its environment: GREENLIGHT_SHA and the other GREENLIGHT_ variables. This one is idempotent,
as every deploy command must be: it is started again after a crash, with the same GREENLIGHT_DEPLOYMENT_ID.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

STATE = Path("running.json")
SERVER = Path(__file__).resolve().with_name("serve.py")


def main() -> int:
    sha = os.environ["GREENLIGHT_SHA"]
    stop_previous()
    server = subprocess.Popen(  # noqa: S603 - our own file, no input from outside
        [sys.executable, str(SERVER)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"GREENLIGHT_SHA": sha, "PATH": os.environ["PATH"]},
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()  # the server prints its address when it listens
    if not url:
        print("the application ended before it listened")  # noqa: T201
        return 1
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an address of this machine
        if sha not in answer.read().decode():
            print(f"{url} answers, but it is not {sha}")  # noqa: T201
            return 1
    STATE.write_text(json.dumps({"pid": server.pid, "url": url, "sha": sha}))
    print(f"hello at {sha[:7]} answers on {url}")  # noqa: T201
    return 0


def stop_previous() -> None:
    if STATE.exists():
        pid = json.loads(STATE.read_text())["pid"]
        if runs(pid):
            os.kill(pid, signal.SIGTERM)
        STATE.unlink()


def runs(pid: int) -> bool:
    """Return whether that process is still the server: another program may have its pid by now."""
    try:
        return str(SERVER) in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, UnicodeDecodeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
