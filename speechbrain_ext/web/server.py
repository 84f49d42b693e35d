"""Serving the page in the browser: to this machine alone unless asked, with nothing of it but the page."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import torch

from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.web.guard import PageGuard, own_hosts, upload_folder
from speechbrain_ext.web.page import build_page, import_gradio, page_style, translations

MOST_WORKERS = 4


@contextlib.contextmanager
def serve_page(
    classifier: Any,
    host: str = "127.0.0.1",
    port: Optional[int] = None,
    max_mb: float = 50.0,
    examples: Sequence[str] = (),
    model: str = "",
    allow_hosts: Sequence[str] = (),
    max_total_mb: float = 1000.0,
    n_workers: Optional[int] = None,
) -> Iterator[str]:
    """Serve the page until the block ends. What visitors have uploaded is deleted then.

    Arguments
    ---------
    classifier
        As `load_classifier` returns it.
    host
        Address of this machine at which the page is served; the default one cannot be reached from other machines.
    port
        By default the first free one from 7860.
    max_mb
        Largest upload in megabytes.
    examples : sequence of str
        Recordings that are offered as examples. They are the only files of this machine, beside the uploads, that the
        page hands out.
    model
        The model's name, for the page.
    allow_hosts : sequence of str
        Names, beside those of this machine, under which browsers may ask for the page; "*" for any.
    max_total_mb
        Largest size of all uploads together in megabytes.
    n_workers
        How many recordings are classified at a time, by default as `count_workers` says. They share the cores.

    Yields
    ------
    str
        The page's address.

    Raises
    ------
    InputError
        If gradio is missing, or host and port cannot be used.
    """
    import_gradio()
    check_address(host, port)
    examples = [os.path.abspath(path) for path in examples]
    n_workers = n_workers or count_workers(classifier)
    with upload_folder() as uploads, _gradio_settings(uploads), _share_cores(n_workers):
        from starlette.middleware import Middleware  # comes with gradio

        hosts = own_hosts(host, allow_hosts)
        guard = Middleware(PageGuard, hosts=hosts, folder=uploads, max_bytes=round(max_total_mb * 1e6))
        page = build_page(classifier, max_mb, examples, model, n_workers)
        try:
            _, url, _ = page.launch(
                server_name=host,
                server_port=port,
                max_file_size=round(max_mb * 1e6),
                allowed_paths=examples,
                **page_style(max_mb),
                i18n=translations(),
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                inline=False,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                pwa=False,
                ssr_mode=False,
                num_workers=0,
                app_kwargs={"middleware": [guard], "openapi_url": None},
            )
            yield url
        finally:
            page.close(verbose=False)


def count_workers(classifier: Any) -> int:
    """Choose how many recordings are classified at a time: one on a GPU, else one a core, and at most four."""
    return min(MOST_WORKERS, _n_cores()) if str(getattr(classifier, "device", "cpu")) == "cpu" else 1


def check_address(host: str, port: Optional[int]) -> None:
    """Refuse a host and port at which no page can be served; an InputError says why."""
    if port is not None:
        check_number("port", port, 1, 65535)
    try:
        with socket.socket() as probe:
            if os.name == "posix":  # a port that was just given up is free; Windows means another thing by it
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port or 0))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is taken by another program. Choose another --port.") from error
        where = host if port is None else f"port {port} of {host}"
        raise InputError(
            f"the page cannot be served at {where}: {error.strerror}. --host has to be an IPv4 address or name of this "
            "machine."
        ) from error


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _share_cores(n_workers: int) -> Iterator[None]:
    """Let each thread that is started in the block compute on its share of the cores."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(min(n_threads, max(1, _n_cores() // n_workers)))
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@contextlib.contextmanager
def _gradio_settings(uploads: str) -> Iterator[None]:
    """Set what Gradio reads from the environment alone: telemetry off, and all files in one folder of its own."""
    settings = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ALLOWED_PATHS": "",
        "GRADIO_EXAMPLES_CACHE": uploads,
        "GRADIO_TEMP_DIR": uploads,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
