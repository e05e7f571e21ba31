"""Tar shards in WebDataset's convention, and a server of them."""

import functools
import http.server
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import webdataset


class Server:
    """Files of a folder over http; counts what is fetched."""

    def __init__(self, folder: Path) -> None:
        self.fetched: Counter[str] = Counter()
        self.broken = False
        self.failing = 0
        owner = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.fetched[self.path.lstrip("/")] += 1
                owner.failing -= 1
                if owner.broken or owner.failing >= 0:
                    return self.send_error(403)
                return super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Start a server of a folder."""
    servers: list[Server] = []

    def start(folder: Path) -> Server:
        servers.append(Server(folder))
        return servers[-1]

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


def write_shards(images: list[Path], folder: Path, count: int) -> list[Path]:
    """Deal images into ``count`` tars, as the library itself writes them, with a json beside each image."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"train-{number:02d}.tar" for number in range(count)]
    for number, path in enumerate(paths):
        with webdataset.TarWriter(str(path)) as tar:
            for image in images[number::count]:
                tar.write({"__key__": image.stem, "jpg": image.read_bytes(), "json": {"name": image.stem}})
    return paths
