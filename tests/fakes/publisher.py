"""A web server on 127.0.0.1 that plays a publisher of weights, well-behaved or not.

Used by tests that pull: `with Publisher() as server`, then `serve_forever` in a thread.
"""

from __future__ import annotations

import http.server
import threading


class Publisher(http.server.ThreadingHTTPServer):
    """Serves `files`; `behave` may answer in its own way instead."""

    daemon_threads = False  # closing waits for every answer, so no socket is left behind

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.asked = []
        self.behave = None
        self.released = threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.server.behave is not None:
            self.server.behave(self)
        elif (data := self.server.files.get(self.path)) is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *args):
        pass
