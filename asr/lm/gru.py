"""A GRU language model: it predicts each word or token from all before it; kept as a folder.

Source: Mikolov et al., "Recurrent neural network based language model" (2010), with gated units,
and with one matrix for words that go in and words that come out (Press and Wolf 2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from asr import __version__
from asr.errors import AsrError, LanguageModelError
from asr.files import atomic_folder, atomic_write
from asr.gru import GRU
from asr.schema import build, section
from asr.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1
KIND = "gru-language-model"
CONFIG_NAME = "config.yaml"
WEIGHTS_NAME = "model.safetensors"
WORDS_NAME = "words.txt"
# What goes in before the first item and comes out after the last one; for tokens it is the blank's
# id, which no text has.
BOUNDARY = 0
UNKNOWN_WORD = 1
_NAMES = ("<s>", "<unk>")


class Items(Protocol):
    """What a GRU language model counts as one item."""

    unit: str

    def __len__(self) -> int:
        """Count the ids, the boundary included."""

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """Give the ids of a sentence, and those of its items that are unknown."""

    def save(self, folder: Path) -> None:
        """Write them into a model's folder."""


class TokenItems:
    """The tokens of a tokenizer."""

    unit = "token"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return self.tokenizer.vocabulary_size

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        return self.tokenizer.encode(text), []

    def save(self, folder: Path) -> None:
        self.tokenizer.save(folder)


class WordItems:
    """Words, the most frequent ones of a text.

    Args:
        words: each once, in the order of ids from 2 on.
    """

    unit = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*_NAMES, *words)
        self._ids = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def word_id(self, word: str) -> int:
        """Give a word's id, ``UNKNOWN_WORD`` if it has none."""
        return self._ids.get(word, UNKNOWN_WORD)

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        words = text.split()
        ids = [self.word_id(word) for word in words]
        return ids, [word for word, i in zip(words, ids, strict=True) if i == UNKNOWN_WORD]

    def save(self, folder: Path) -> None:
        with atomic_write(folder / WORDS_NAME) as stream:
            stream.writelines(word + "\n" for word in self.words[len(_NAMES) :])


class GRULanguageModel(nn.Module):
    """Predicts the next item.

    Args:
        vocabulary_size: number V of ids.
        embedding_size: size of an item's vector.
        hidden_size: units of a layer.
        num_layers: layers.
        dropout: probability with which values between the layers, and before the first and after
            the last one, are dropped in training.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int = 256,
        hidden_size: int = 512,
        num_layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        self.gru = GRU(embedding_size, hidden_size, num_layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(hidden_size, embedding_size)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, ids: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict what follows each item.

        Args:
            ids: ``(B, L)`` int64.
            state: ``(layers, B, H)``, or None at the beginning of a text.

        Returns:
            Natural log-probabilities ``(B, L, V)`` of the item after each, and the state after the
            last one.
        """
        output, state = self.gru(self.dropout(self.embedding(ids)), None, state)
        vectors = self.projection(self.dropout(output))
        logits = nn.functional.linear(vectors, self.embedding.weight, self.bias)
        return torch.log_softmax(logits.float(), dim=-1), state


@dataclass(frozen=True)
class SavedGRU:
    """What the folder of a GRU language model holds.

    Attributes:
        model: with its trained weights.
        items: what it counts.
        config: the model's arguments beside the number of ids.
        notes: facts about the training.
    """

    model: GRULanguageModel
    items: TokenItems | WordItems
    config: dict[str, Any]
    notes: dict[str, Any]


def build_gru(config: Mapping[str, Any], items: Items) -> GRULanguageModel:
    """Make a model with fresh weights.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    return build(GRULanguageModel, config, "language model", vocabulary_size=len(items))


def save_gru(
    folder: Path | str,
    model: GRULanguageModel,
    items: TokenItems | WordItems,
    config: Mapping[str, Any],
    notes: Mapping[str, Any],
) -> None:
    """Write a folder that ``load_gru`` reads, whole or not at all.

    Raises:
        LanguageModelError: the folder exists and holds other things than a language model.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not is_gru_folder(folder):
        raise LanguageModelError(
            f"{folder} exists and is no GRU language model; name a new folder to save it in"
        )
    with atomic_folder(folder) as place:
        items.save(place)
        weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        with atomic_write(place / WEIGHTS_NAME, "wb") as stream:
            stream.write(safetensors.torch.save(weights))
        tokenizer = {"kind": items.tokenizer.kind} if isinstance(items, TokenItems) else None
        content = {
            "kind": KIND,
            "format": FORMAT,
            "versions": {"asr": __version__, "torch": torch.__version__.split("+")[0]},
            "unit": items.unit,
            "tokenizer": tokenizer,
            "model": dict(config),
            "training": dict(notes),
        }
        with atomic_write(place / CONFIG_NAME) as stream:
            yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True)


def load_gru(folder: Path | str) -> SavedGRU:
    """Read the folder of a GRU language model; nothing in it is ever executed.

    Raises:
        LanguageModelError: a file is missing, broken, or of a format number not known here.
    """
    folder = Path(folder)
    config = _read_config(folder)
    if config.get("kind") != KIND:
        raise LanguageModelError(
            f"{folder} is no GRU language model; `asr lm train-gru` writes one"
        )
    if config.get("format") != FORMAT:
        raise LanguageModelError(
            f"{folder / CONFIG_NAME} says format {config.get('format')!r}, this version of asr "
            f"({__version__}) reads format {FORMAT}; use the version that wrote it"
        )
    items: TokenItems | WordItems
    try:
        if config["unit"] == TokenItems.unit:
            items = TokenItems(load_tokenizer(config["tokenizer"]["kind"], folder))
        else:
            items = WordItems((folder / WORDS_NAME).read_text("utf-8").split("\n")[:-1])
        model = build_gru(config["model"], items)
        model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_NAME))
        notes = section(config, "training", "training")
    except (
        AsrError, KeyError, TypeError, OSError, ValueError, RuntimeError,
        safetensors.SafetensorError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise LanguageModelError(f"language model {folder} is damaged: {reason}") from error
    return SavedGRU(model.eval(), items, config["model"], notes)


def is_gru_folder(folder: Path | str) -> bool:
    """Tell whether a folder is that of a GRU language model."""
    try:
        return _read_config(Path(folder)).get("kind") == KIND
    except LanguageModelError:
        return False


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LanguageModelError(f"language model {path} cannot be read: {error}") from error
    return dict(config) if isinstance(config, dict) else {}
