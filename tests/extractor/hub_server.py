"""A real HTTP server that speaks as much of the model hub's protocol as a download needs, or refuses."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHA = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(
    files: dict[str, bytes], *, status: int = 200, code: str = "", cut: int | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serve one repository under any name; yields the address and the paths asked for so far.

    Args:
        files: by name.
        status, code: answer everything so, `code` being what the hub calls the refusal.
        cut: send so many bytes of each file's body, then close.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(f"{self.command} {path}")
            headers: dict[str, str] = {}
            body, found = b"", status
            if status != 200:
                headers["X-Error-Code"] = code
            elif path.startswith("/api/models/"):
                body = json.dumps(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
                        for name, data in files.items()
                    ]
                    if "/tree/" in path
                    else {"id": "owner/model", "sha": SHA, "siblings": [{"rfilename": one} for one in files]}
                ).encode()
                headers["Content-Type"] = "application/json"
            elif (name := Path(path).name) in files:
                body = files[name]
                headers |= {"ETag": f'"{sha1(body).hexdigest()}"', "X-Repo-Commit": SHA}
            else:
                found, headers["X-Error-Code"] = 404, "EntryNotFound"
            self.send_response(found)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                if cut is not None and "/resolve/" in path:
                    self.wfile.write(body[:cut])
                    self.close_connection = True
                else:
                    self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
