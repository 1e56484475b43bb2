"""Small models with random weights, saved and exported, for tests of what runs without torch."""

from pathlib import Path

import torch

from asr.model import CTCModel, build_model
from asr.model_folder import save_model
from asr.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer(" ABCDE")


def save_random(
    folder: Path, *, normalize: str = "mean", floor_db: float | None = None, **encoder: object
) -> CTCModel:
    """Save a small model with random weights, biases too, and give it."""
    config = {
        "features": {"sample_rate": 8000, "n_mels": 20}
        | {"normalize": normalize, "floor_db": floor_db},
        "encoder": {"width": 24, "channels": 4, **encoder},
    }
    torch.manual_seed(0)
    model = build_model(config, TOKENIZER.vocabulary_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    save_model(folder, model, TOKENIZER, config, {"name": "random"})
    return model
