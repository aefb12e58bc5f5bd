"""The sample application, which answers with its commit."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

SHA = os.environ["GREENLIGHT_SHA"]


class CommitHandler(BaseHTTPRequestHandler):
    """Answer every GET with the commit."""

    def do_GET(self) -> None:
        body = f"hello, this is commit {SHA}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: only the line with the address is read."""


server = HTTPServer(("127.0.0.1", 0), CommitHandler)
sys.stdout.write(f"http://127.0.0.1:{server.server_port}/\n")
sys.stdout.flush()
sys.stdout.close()
server.serve_forever()
