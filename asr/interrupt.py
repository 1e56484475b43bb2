"""Ctrl-C ends work even where Python swallows it."""

import signal
import threading
from types import FrameType


class Interrupt:
    """Remembers that the user interrupted, within a block.

    Python drops an exception that is raised while an object is deleted, a KeyboardInterrupt too;
    whoever loops asks ``check`` whether there was one.
    """

    def __init__(self) -> None:
        self._happened = False
        self._before: object = None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]  # as it was

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._happened = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise what was dropped.

        Raises:
            KeyboardInterrupt: the user interrupted.
        """
        if self._happened:
            raise KeyboardInterrupt
