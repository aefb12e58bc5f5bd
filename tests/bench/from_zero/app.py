"""Takes every event, and answers nothing."""

from flask import Flask

app = Flask(__name__)


@app.post("/")
def receive() -> tuple[str, int]:
    return "", 202
