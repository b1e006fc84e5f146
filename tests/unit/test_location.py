"""Folders of an object store, whose account may not look at the bucket itself."""

import json
import threading
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from pyarrow import fs

from agentark_ray.location import make_folder


class Bucket(BaseHTTPRequestHandler):
    """Google's JSON API to the objects of a bucket; to the bucket itself it says 403."""

    objects: dict[str, Any]

    def say(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        _, _, name = urlsplit(self.path).path.partition("/storage/v1/b/bucket/o/")
        found = self.objects.get(unquote(name))
        status = 403 if not name else 200 if found else 404
        self.say(status, found or {"error": {"code": status, "message": "no"}})

    def do_POST(self) -> None:
        (name,) = parse_qs(urlsplit(self.path).query)["name"]
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = f"content-type: {self.headers['content-type']}\n\n".encode()
        parts: Any = message_from_bytes(kind + body).get_payload()
        about = json.loads(parts[0].get_payload())
        if name in self.objects:
            self.say(412, {"error": {"code": 412, "message": "it is there"}})
            return
        self.objects[name] = {**about, "kind": "storage#object", "bucket": "bucket", "name": name}
        self.say(200, self.objects[name])

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def objects() -> Iterator[tuple[fs.FileSystem, dict[str, Any]]]:
    held: dict[str, Any] = {}
    handler = type("Held", (Bucket,), {"objects": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        yield (
            fs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=place),
            held,
        )
        server.shutdown()


def test_folders_of_google_cloud_need_no_right_to_the_bucket(objects: Any) -> None:
    store, held = objects
    with pytest.raises(OSError, match=r"403|PERMISSION_DENIED"):
        store.create_dir("bucket/runs/gsm8k")
    make_folder(store, "bucket/runs/gsm8k")
    assert set(held) == {"runs/", "runs/gsm8k/"}
    make_folder(store, "bucket/runs/gsm8k")
    store.create_dir("bucket/runs/gsm8k/checkpoints/rsft")  # as Ray does
    assert set(held) == {
        f"runs/{rest}" for rest in ("", "gsm8k/", "gsm8k/checkpoints/", "gsm8k/checkpoints/rsft/")
    }


def test_folders_of_a_disk(tmp_path: Any) -> None:
    for _ in range(2):
        make_folder(fs.LocalFileSystem(), f"{tmp_path}/runs/gsm8k")
    assert (tmp_path / "runs/gsm8k").is_dir()
