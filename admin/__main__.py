"""The admin process: uvicorn on uvloop, until SIGTERM. python -m admin [--config FILE] [--data DIR].

Touches: the listening socket and the process. `volley admin` calls main(), `volley serve` starts this module.
Exit status: 0 stopped as asked, 1 failed (its port is taken), 2 a setting is wrong.
"""

from __future__ import annotations

import signal
import sys

import uvicorn

from admin.app import create_app
from config import Settings
from config.arguments import settings_of
from dispatcher import logs

CONNECTIONS_MAX = 2_000  # open sockets; more are answered 503 by uvicorn before any work
KEEP_ALIVE_S = 15
DRAIN_S = 5  # requests under way at SIGTERM; `volley serve` allows 15 s for everything


def main(settings: Settings) -> int:
    """Serve until told to stop; returns the exit status. Whoever calls has set up the log."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.api.host,
            port=settings.api.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises again what stopped it: then a stop is no death
        signal.signal(number, server.handle_exit)
    try:
        server.run()
    except SystemExit:  # uvicorn's 3 for a taken port means something else to whoever watches us
        return 1
    return 0 if server.started else 1


def command_line(argv: list[str] | None = None) -> int:
    settings = settings_of("admin", "Volley's admin process: the HTTP API", argv)
    logs.configure(settings.log.level, settings.log.format, process="admin")
    return main(settings)


if __name__ == "__main__":
    sys.exit(command_line())
