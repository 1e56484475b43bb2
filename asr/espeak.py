"""The library of espeak-ng, opened anew each time so that it remembers nothing."""

import _ctypes
import ctypes
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asr.errors import AudioError

# Values of espeak-ng's public header, speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000

# The library keeps the path of its data in 160 bytes and appends file names to it.
_LONGEST_DATA_PATH = 100

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Espeak:
    """The open library.

    Attributes:
        library: its functions.
        sample_rate: of what it speaks, in Hz.
    """

    library: ctypes.CDLL
    sample_rate: int

    def set_voice(self, name: str) -> None:
        """Choose who speaks.

        Args:
            name: accent and, after a plus sign, variant, as ``espeak-ng -v`` takes them.

        Raises:
            AudioError: there is no such voice.
        """
        import espeakng_loader

        variant = name.partition("+")[2]
        # The library falls back to the plain accent when it knows no such variant.
        variants = Path(espeakng_loader.get_data_path(), "voices", "!v")
        known = not variant or (variants / variant).is_file()
        if not known or self.library.espeak_SetVoiceByName(name.encode()):
            raise AudioError(
                f"espeak-ng has no voice '{name}'; expected an accent and a variant such as "
                "en-us+f3 (see `espeak-ng --voices=en` and `--voices=variant`)"
            )


@contextmanager
def open_espeak() -> Iterator[Espeak]:
    """Open the library for the time of a ``with`` block; threads take turns.

    Raises:
        AudioError: the library or its data cannot be loaded, or something else in this process
            has it open.
    """
    with _one_at_a_time, _data_path() as data_path, _fresh_library() as library:
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, _DO_NOT_EXIT)
        if rate <= 0:
            raise AudioError(
                f"espeak-ng found no data in {data_path.decode()}; reinstall espeakng-loader"
            )
        try:
            yield Espeak(library, rate)
        finally:
            library.espeak_Terminate()


@contextmanager
def _data_path() -> Iterator[bytes]:
    """Give a path of the data that is short enough for the library."""
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path()).absolute()
    if len(os.fsencode(folder)) <= _LONGEST_DATA_PATH:
        yield os.fsencode(folder.parent)
        return
    with tempfile.TemporaryDirectory(prefix="asr-") as short:
        if len(os.fsencode(short)) > _LONGEST_DATA_PATH:
            raise AudioError(
                f"the temporary folder {short} has too long a name for espeak-ng, which takes "
                f"{_LONGEST_DATA_PATH} bytes; set TMPDIR=/tmp"
            )
        Path(short, folder.name).symlink_to(folder)
        yield os.fsencode(short)


@contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """Load the library anew, for its static variables outlive even ``espeak_Terminate``."""
    import espeakng_loader

    path = espeakng_loader.get_library_path()
    if _is_loaded(path):
        raise AudioError(
            "espeak-ng is already loaded in this process, so speech would depend on what was "
            "spoken before; synthesize in a process of its own"
        )
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise AudioError(f"espeak-ng's library cannot be loaded: {error}") from error
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)


def _is_loaded(path: str) -> bool:
    try:
        handle = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)._handle
    except OSError:
        return False
    _ctypes.dlclose(handle)
    return True
