"""A progress bar that counts hours of audio and knows how many there will be."""

import sys
import threading
import time
from collections.abc import Sequence
from typing import TextIO

from tqdm import tqdm

from asr.audio import probe_audio
from asr.errors import AsrError

# Shorter work is done before a bar is read.
_SHOW_AFTER_SECONDS = 2.0
# In a file every state of the bar is a line.
_LOG_SECONDS = 30.0


class AudioProgress:
    """Shows on stderr how much audio is transcribed, out of what all files' headers promise.

    The headers are read in a thread beside the work, so that the end is known better and better.

    Args:
        paths: the files.
        quiet: show nothing.

    Attributes:
        hours: audio transcribed so far.
    """

    def __init__(self, paths: Sequence[str], quiet: bool = False) -> None:
        self._paths = paths
        self._files = 0
        self._started = time.monotonic()
        self.hours = 0.0
        self._stopped = threading.Event()
        self._bar = tqdm(
            total=0.0,
            unit="h",
            bar_format="{l_bar}{bar}| {n:.2f}/{total:.2f} h of audio "
            "[{elapsed}<{remaining}{postfix}]",
            delay=_SHOW_AFTER_SECONDS,
            leave=False,
            mininterval=0.1 if sys.stderr.isatty() else _LOG_SECONDS,
            disable=quiet,
        )
        self._thread = threading.Thread(target=self._probe, daemon=True)

    def __enter__(self) -> "AudioProgress":
        if not self._bar.disable:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._bar.close()

    def _probe(self) -> None:
        for path in self._paths:
            if self._stopped.is_set():
                return
            try:
                hours = probe_audio(path).duration_seconds / 3600
                self._bar.total = (self._bar.total or 0.0) + hours
            except AsrError:
                # It will be named when it is read.
                continue

    @property
    def heard(self) -> str:
        """How much audio is transcribed so far, in words."""
        seconds = 3600 * self.hours
        if seconds < 120:
            return f"{seconds:.1f} s"
        return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{self.hours:.2f} h"

    def add_seconds(self, seconds: float) -> None:
        """Count audio that was encoded."""
        self.hours += seconds / 3600
        # Some headers promise too little or nothing, and others were not read yet.
        self._bar.total = max(self._bar.total or 0.0, self._bar.n + seconds / 3600)
        self._bar.update(seconds / 3600)

    def add_file(self) -> None:
        """Count a file that is done."""
        self._files += 1
        self._bar.set_postfix_str(f"{self._files}/{len(self._paths)} files", refresh=False)

    def write_error(self, line: str) -> None:
        """Print a line on stderr, above the bar."""
        self._write(line + "\n", sys.stderr)

    def write_out(self, text: str) -> None:
        """Print a text, with its line end, on stdout."""
        self._write(text, sys.stdout)

    def _write(self, text: str, stream: TextIO) -> None:
        # Tqdm would draw the bar behind the text, before its time too.
        if self._bar.disable or time.monotonic() - self._started < _SHOW_AFTER_SECONDS:
            stream.write(text)
        else:
            self._bar.write(text, file=stream, end="")
        stream.flush()
