"""An exported model with its tokenizer, loaded from a folder, that transcribes without torch."""

import os
from pathlib import Path

from asr.encoding import LogProbs
from asr.errors import ModelFolderError
from asr.model_config import load_config
from asr.runtime.acoustic import GraphAcoustic
from asr.runtime.backends import open_engine
from asr.transcriber import Transcriber


class ExportedRecognizer(Transcriber):
    """Transcribes speech with an exported model, on the CPU.

    Args:
        folder: as ``asr export`` wrote it.
        backend: ``"compiled"``, ``"onnx"`` or ``"openvino"``.
        threads: how many compute at once; None: as many as the process may use.

    Raises:
        ModelFolderError: a file is missing, broken, or of a format number not known here.
        UsageError: the backend is not installed, or does not run this model.
    """

    def __init__(
        self, folder: Path | str, backend: str = "onnx", threads: int | None = None
    ) -> None:
        config = load_config(folder)
        if config.export is None:
            raise ModelFolderError(
                f"{folder} holds no graphs for --backend {backend}; `asr export {folder} -o DIR` "
                "writes them"
            )
        self.backend = backend
        self.precision = str(config.export["precision"])
        threads = threads or len(os.sched_getaffinity(0))
        engine = open_engine(backend, config, threads)
        super().__init__(
            GraphAcoustic(Path(folder), config, engine, threads),
            config.tokenizer,
            name=str(folder),
            decoder_options=config.decoder,
        )

    def log_probs(self, audio: Path | str) -> LogProbs:
        """Compute the log-probabilities of a file.

        Returns:
            ``(U, V)`` float32, natural logarithms.

        Raises:
            AudioError: the file cannot be read.
        """
        return self._log_probs(audio)
