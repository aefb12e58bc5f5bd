"""Sends signed pushes of one repository from many connections at once, as fast as they are answered, until it is ended.

Arguments: port of the webhooks, how many senders. Prints a line when each has been answered once.
"""

from __future__ import annotations

import http.client
import sys
import threading

from bench_g6_growth import signed_push


def send(port: int, sender: int, begun: threading.Semaphore) -> None:
    """Push for ever."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for n in range(sys.maxsize):
        body, headers = signed_push(f"flood {sender} {n}", "a", at=n)
        link.request("POST", "/webhooks/github", body, headers)
        answer = link.getresponse()
        answer.read()
        assert answer.status == 202, answer.status
        if n == 0:
            begun.release()


def main(port: int, senders: int) -> None:
    """Until it is ended."""
    begun = threading.Semaphore(0)
    for sender in range(senders):
        threading.Thread(target=send, args=(port, sender, begun), daemon=True).start()
    for _ in range(senders):
        begun.acquire()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
