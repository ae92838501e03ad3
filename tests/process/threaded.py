"""A module that starts a thread when it is imported."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()


class Agent:
    pass


def main(payload: bytes, connection: object) -> int:
    return 4
