"""Who may talk to the page, how much may lie in its folder of uploads, and what is left when its process is killed."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import psutil

PREFIX = "speechbrain-ext-web-"
LOCK = ".lock"
# Gradio's page has inline scripts and styles, evaluates the events' scripts, and shows recordings as data: and blob:.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class PageGuard:
    """ASGI middleware: answers the page's own hosts and origins alone, limits all uploads together, and adds headers.

    A page of somebody else, open in the same browser, could otherwise reach a page on this machine: by its address, or
    by a name that is made to point to it (DNS rebinding).

    Arguments
    ---------
    app
        The application behind it.
    hosts : sequence of str
        Host names and addresses that are answered; "*" answers all.
    folder : str or pathlib.Path
        Where uploads are kept.
    max_bytes : int
        How much may lie there.
    """

    def __init__(self, app: Any, hosts: Sequence[str], folder: str | Path, max_bytes: int) -> None:
        self.app, self.folder, self.max_bytes = app, Path(folder), max_bytes
        self.hosts = {host.lower() for host in hosts}
        self.n_under_way = 0  # bytes of uploads that are being received

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse  # comes with gradio

        answer, headers, n_bytes = self.app, dict(scope["headers"]), 0
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
        if "*" not in self.hosts and _name(f"//{host}") not in self.hosts:
            answer = PlainTextResponse("This page is not served under this name: see --allow_host.\n", 403)
        elif (origin and _netloc(origin) != host.lower()) or _is_part_of_foreign_page(headers):
            answer = PlainTextResponse("This page answers itself alone, not pages of other origins.\n", 403)
        elif scope["path"].endswith("/upload"):
            length = headers.get(b"content-length", b"")
            n_bytes = int(length) if length.isdigit() and len(length) < 20 else 0
            if not n_bytes:
                answer = PlainTextResponse("An upload has to say its Content-Length.\n", 411)
            elif self._n_bytes() + self.n_under_way + n_bytes > self.max_bytes:
                text = f"The {self.max_bytes / 1e6:g} MB for uploads are used up. They are deleted within two hours.\n"
                answer = PlainTextResponse(text, 413)

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        n_bytes *= answer is self.app
        self.n_under_way += n_bytes
        try:
            await answer(scope, receive, send_with_headers)
        finally:
            self.n_under_way -= n_bytes

    def _n_bytes(self) -> int:
        sizes = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # it was deleted meanwhile
                sizes.append(path.stat().st_size if path.is_file() else 0)
        return sum(sizes)


def own_hosts(host: str, allowed: Sequence[str] = ()) -> list[str]:
    """List the names under which a page is served.

    Arguments
    ---------
    host
        The address that it is served at.
    allowed : sequence of str
        Further names, such as that of a proxy in front of it.

    Returns
    -------
    list of str
        Names and addresses without ports; for all networks (0.0.0.0), those of this machine.

    Example
    -------
    >>> own_hosts("127.0.0.1", ["emotions.example.org"])
    ['127.0.0.1', 'localhost', 'emotions.example.org']
    """
    names = [host, "localhost"]
    if host == "0.0.0.0":
        addresses = [address for of_card in psutil.net_if_addrs().values() for address in of_card]
        names += [address.address for address in addresses if address.family == socket.AF_INET]
        names += [socket.gethostname(), socket.getfqdn()]
    return [*names, *allowed]


@contextlib.contextmanager
def upload_folder() -> Iterator[str]:
    """Make a folder for uploads, which is deleted at the block's end; delete those of pages that were killed.

    Yields
    ------
    str
        The folder.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _delete_if_left(folder)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        with filelock.FileLock(Path(name) / LOCK):  # the system gives it back, however this process ends
            yield name


def _delete_if_left(folder: Path) -> None:
    """Delete a folder of uploads that no process holds any more, if it is this user's."""
    with contextlib.suppress(OSError, filelock.Timeout):
        if folder.is_symlink() or not folder.is_dir() or (os.name == "posix" and folder.stat().st_uid != os.getuid()):
            return
        with filelock.FileLock(folder / LOCK, timeout=0):
            for path in folder.iterdir():
                if path.name != LOCK:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.rmtree(folder)


def _name(address: str) -> str:
    """Return the host of an address without its port; "" where there is none."""
    with contextlib.suppress(ValueError):
        return (urlsplit(address).hostname or "").lower()
    return ""


def _netloc(origin: str) -> str:
    """Return an origin's host with its port; "" where there is none."""
    with contextlib.suppress(ValueError):
        return urlsplit(origin).netloc.lower()
    return ""


def _is_part_of_foreign_page(headers: dict[bytes, bytes]) -> bool:
    """Tell, by what browsers say, whether a page of another site asks for a part of itself; a link to this one may."""
    return headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate"
