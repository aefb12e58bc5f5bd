"""A service that answers a check.request with a check.reply, and other events with nothing."""

import os
import socket

from flask import Flask, make_response, request

app = Flask(__name__)


@app.get("/")
def index():
    return f"{socket.gethostname()} K_SINK={os.environ.get('K_SINK')}\n"


@app.post("/")
def receive():
    kind = request.headers["ce-type"]
    print("received", kind, request.headers["ce-id"], flush=True)
    if kind != "check.request":
        return "", 202
    reply = make_response({"got": request.get_json()})
    reply.headers.update(
        {
            "ce-specversion": "1.0",
            "ce-type": "check.reply",
            "ce-source": "/check",
            "ce-id": "reply-to-" + request.headers["ce-id"],
        }
    )
    return reply
