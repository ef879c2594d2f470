"""The page over HTTP, for the browser of this machine: 127.0.0.1 only, files of the package and the answers of `api`.

Knows requests.  Knows no table.  A page of another site can neither read an answer nor change anything: the host that was asked
for must be this machine, and what changes something must be JSON from this page.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from parallax_lib.analysis.view import page_files
from parallax_lib.analysis.view.api import View
from parallax_lib.core.errors import UserError

HOST, PORT, TRIED = "127.0.0.1", 8642, 20
FILES: dict[str, tuple[Callable[[], str], str]] = {
    "/": (page_files.page, "text/html"),
    "/view.css": (page_files.style, "text/css"),
    "/view.js": (page_files.script, "text/javascript"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
MOST = 1 << 16  # bytes of a question


class Server(ThreadingHTTPServer):
    """Answers for one view; `url` is where."""

    daemon_threads = True

    def __init__(self, view: View, port: int):
        super().__init__((HOST, port), Handler)
        self.view = view

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        if not self.from_here():
            return
        if where.path in FILES:
            text, kind = FILES[where.path]
            return self.reply(200, text().encode(), kind)
        self.answer(where, None)

    def do_POST(self) -> None:
        if not self.from_here():
            return
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get_content_type() != "application/json" or not 0 < length <= MOST:
            return self.refuse(415, "a change is asked for as JSON of at most 64 kB")
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            return self.refuse(400, "the question is no JSON")
        self.answer(urlsplit(self.path), body if isinstance(body, dict) else {})

    def from_here(self) -> bool:
        """Whether the browser asked this machine by its own name, from this page."""
        port = self.server.server_address[1]
        ours = {f"{name}:{port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in ours and (origin is None or urlsplit(origin).netloc in ours):
            return True
        self.refuse(403, "this page answers the browser of this machine only")
        return False

    def answer(self, where, body: dict | None) -> None:
        path = where.path.removeprefix("/api/")
        if path == where.path:
            return self.refuse(404, f"no page {where.path}")
        try:
            found = self.server.view.answer(path, dict(parse_qsl(where.query, keep_blank_values=True)), body)
            self.reply(200, json.dumps(found, allow_nan=False).encode(), "application/json")
        except UserError as e:
            self.refuse(400, str(e))

    def refuse(self, status: int, why: str) -> None:
        self.close_connection = True  # what was sent along is not read
        self.reply(status, json.dumps({"error": why}).encode(), "application/json")

    def reply(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (HEADERS | {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not told."""


def start(view: View, port: int = 0) -> Server:
    """A server at that port, or at the first free one from 8642 on; UserError where a port that was named is taken."""
    for at in [port] if port else range(PORT, PORT + TRIED):
        try:
            return Server(view, at)
        except OSError as e:
            why = e.strerror
    raise UserError(f"--port {port or f'{PORT} to {PORT + TRIED - 1}'}: {why}; name another one")


def serve(view: View, port: int = 0, say: Callable[[str], None] = print, browser: bool = True) -> None:
    """Serve until Ctrl-C; `say` tells the address, and the system's browser is opened at it."""
    import webbrowser

    with start(view, port) as server:
        say(f"{view.dataset.name}: {server.url}  (Ctrl-C ends it)")
        if browser:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        server.serve_forever()
