"""The recognizer: a trained model with its tokenizer, loaded from a folder, that transcribes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.acoustic import TorchAcoustic
from asr.decoding.decoder import Decoder
from asr.decoding.options import DEFAULT_OPTIONS, DecoderOptions
from asr.errors import UsageError
from asr.model import CTCModel
from asr.model_folder import load_model, save_model
from asr.tokenizer import Tokenizer
from asr.transcriber import TranscribeOptions, Transcriber
from asr.transcript import Transcript


class Recognizer(Transcriber):
    """Transcribes speech with a CTC model.

    Args:
        model: the model, with trained weights.
        tokenizer: turns its token ids into text.
        config: what ``build_model`` made the model from; saved with it.
        device: where to compute: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: of the encoder's matrix products: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        notes: facts about the training that travel in the model folder.
        name: what transcripts call the model.
        decoder_options: how to decode, and what was fitted for times and confidences of words.
        decoder: turns log-probabilities into hypotheses; None: what ``decoder_options`` say.
    """

    def __init__(
        self,
        model: CTCModel,
        tokenizer: Tokenizer,
        config: Mapping[str, Any],
        *,
        device: str = "auto",
        precision: str = "fp32",
        notes: Mapping[str, Any] | None = None,
        name: str = "",
        decoder_options: DecoderOptions = DEFAULT_OPTIONS,
        decoder: Decoder | None = None,
    ) -> None:
        self.device: torch.device = choose_device(device)
        self.precision = precision
        self.model = model.to(self.device).eval()
        super().__init__(
            TorchAcoustic(self.model, precision),
            tokenizer,
            name=name,
            decoder_options=decoder_options,
            decoder=decoder,
        )
        self.config = dict(config)
        self.notes = dict(notes or {})

    @classmethod
    def load(
        cls, folder: Path | str, device: str = "auto", precision: str = "fp32"
    ) -> "Recognizer":
        """Load a model folder.

        Args:
            folder: as ``save`` or ``asr train`` wrote it.
            device: see the class.
            precision: see the class.

        Raises:
            ModelFolderError: a file is missing, broken, or of a format number not known here.
            UsageError: there is no such device or precision.
        """
        saved = load_model(folder)
        return cls(
            saved.model,
            saved.tokenizer,
            saved.config,
            device=device,
            precision=precision,
            notes=saved.notes,
            name=str(folder),
            decoder_options=saved.decoder,
        )

    def save(self, folder: Path | str) -> None:
        """Write the model folder; see ``save_model``."""
        save_model(
            folder, self.model, self.tokenizer, self.config, self.notes, self.decoder_options
        )

    def transcribe(
        self,
        audio: Path | str | np.ndarray | Tensor,
        sample_rate: int | None = None,
        options: TranscribeOptions | None = None,
    ) -> Transcript:
        """Transcribe one recording, a tensor ``(S,)`` too; see ``Transcriber.transcribe``."""
        if isinstance(audio, Tensor):
            audio = audio.detach().cpu().numpy()
        return super().transcribe(audio, sample_rate, options)

    def log_probs(self, audio: Path | str) -> Tensor:
        """Compute the log-probabilities of a file.

        Returns:
            ``(U, V)`` float32, natural logarithms.

        Raises:
            AudioError: the file cannot be read.
        """
        return torch.from_numpy(self._log_probs(audio))


def choose_device(name: str) -> torch.device:
    """Turn a device's name into the device.

    Args:
        name: ``"auto"`` takes a GPU where there is one; otherwise torch's names.

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"no device '{name}' on this machine; expected auto, cpu, cuda, cuda:N or mps"
        ) from error
    return device
