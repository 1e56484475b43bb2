"""Speech recognition: log-mel features, a bidirectional GRU encoder, CTC, and honest scores."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["AsrError", "ExportedRecognizer", "Recognizer", "__version__", "score"]

if TYPE_CHECKING:
    from asr.errors import AsrError
    from asr.recognizer import Recognizer
    from asr.runtime.recognizer import ExportedRecognizer
    from asr.scoring.score import score


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; `asr --help` and readers of manifests need none of it.
    if name == "Recognizer":
        from asr.recognizer import Recognizer

        return Recognizer
    if name == "ExportedRecognizer":
        from asr.runtime.recognizer import ExportedRecognizer

        return ExportedRecognizer
    if name == "score":
        from asr.scoring.score import score

        return score
    if name == "AsrError":
        from asr.errors import AsrError

        return AsrError
    raise AttributeError(f"module 'asr' has no attribute '{name}'")
