"""The web process of `make run`: uvicorn on loopback, its logs in our chain.

In production any ASGI server on `config.asgi:application` does.
"""

from __future__ import annotations

import os

import uvicorn

# What a browser may send in one frame; more closes the socket with 1009.
LARGEST_FRAME = 16 * 1024


def main() -> None:
    uvicorn.run(
        "config.asgi:application",
        host="127.0.0.1",
        port=int(os.environ.get("PORT") or 8000),
        ws="websockets-sansio",
        ws_max_size=LARGEST_FRAME,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing stands before us, so a forwarded address is a forged one.
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
