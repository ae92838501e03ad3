"""Import nats-py without aiohttp, which it imports where it can: 100 ms and 10 MiB for a zygote whose agents use no websocket.

Only where nothing else runs that could import aiohttp meanwhile: in a zygote. `nats_websocket` gives it back to who needs it.
"""

import importlib
import sys

if "aiohttp" not in sys.modules:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        importlib.import_module("nats.aio.client")
    finally:
        del sys.modules["aiohttp"]
