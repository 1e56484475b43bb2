"""Tokenizers turn transcripts into token ids and back; id 0 is always the CTC blank."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece

from asr.errors import ConfigError, TokenizerError
from asr.files import atomic_write

BLANK = 0
_SPACE_NAME = "<space>"
_BLANK_NAME = "<blank>"
_SPACE_SIGN = "\u2581"
MODEL_TYPES = ("unigram", "bpe")


class Tokenizer(ABC):
    """Maps text to ids in ``1 … vocabulary_size - 1`` and back; 0 stays free for the blank."""

    kind: str
    file_name: str

    @property
    @abstractmethod
    def tokens(self) -> tuple[str, ...]:
        """What each id stands for, as readable text; the blank first."""

    @property
    def pieces(self) -> tuple[str, ...]:
        """What each id adds to a text, spaces written as such; the blank first."""
        return self.tokens

    @property
    def vocabulary_size(self) -> int:
        """The number V of ids, the blank included."""
        return len(self.tokens)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turn a transcript into token ids.

        Args:
            text: words separated by single spaces.

        Returns:
            L ids, none of them 0.

        Raises:
            TokenizerError: a character that the vocabulary lacks; names it.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids back into text; the inverse of ``encode``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the vocabulary into a folder under ``file_name``."""


class CharacterTokenizer(Tokenizer):
    """One token for each character, the space among them.

    Args:
        characters: the vocabulary without the blank, each a single character.

    Raises:
        TokenizerError: no character, one twice, or white space other than the space.
    """

    kind = "characters"
    file_name = "tokenizer.txt"

    def __init__(self, characters: Sequence[str]) -> None:
        wrong = [character for character in characters if len(character) != 1]
        if wrong or len(set(characters)) != len(characters) or not characters:
            raise TokenizerError(
                f"a character vocabulary needs single characters, each once; found {characters!r}"
            )
        _refuse_white_space(characters)
        self._characters = tuple(characters)
        self._ids = {character: index for index, character in enumerate(characters, start=1)}

    @classmethod
    def train(cls, texts: Iterable[str]) -> "CharacterTokenizer":
        """Take every character that occurs, in code point order."""
        return cls(sorted(set().union(*texts)))

    @classmethod
    def load(cls, folder: Path) -> "CharacterTokenizer":
        """Read what ``save`` wrote."""
        path = folder / cls.file_name
        try:
            names = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"vocabulary {path} cannot be read: {error}") from error
        if names[0] != _BLANK_NAME or names[-1] != "":
            raise TokenizerError(
                f"vocabulary {path} must start with the line {_BLANK_NAME} and end "
                "with a line break"
            )
        return cls([" " if name == _SPACE_NAME else name for name in names[1:-1]])

    @property
    def tokens(self) -> tuple[str, ...]:
        return (_BLANK_NAME, *self._characters)

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise TokenizerError(_unknown(error.args[0], text, self.tokens)) from error

    def decode(self, ids: Sequence[int]) -> str:
        # Spaces at the ends or in rows carry no word; CTC may still emit them.
        return " ".join("".join(self._characters[index - 1] for index in ids).split())

    def save(self, folder: Path) -> None:
        names = [_SPACE_NAME if token == " " else token for token in self.tokens]
        with atomic_write(folder / self.file_name) as stream:
            stream.write("\n".join(names) + "\n")


class SentencePieceTokenizer(Tokenizer):
    """Subwords of a sentencepiece model.

    Args:
        model: the serialised sentencepiece model; its unknown piece has id 0, where CTC's blank is,
            since text with an unknown character is refused anyway.
    """

    kind = "sentencepiece"
    file_name = "tokenizer.model"

    def __init__(self, model: bytes) -> None:
        self._model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise TokenizerError(f"the sentencepiece model is broken: {error}") from error
        if self._processor.unk_id() != BLANK:
            raise TokenizerError(
                f"the sentencepiece model's unknown piece has id {self._processor.unk_id()}; "
                "expected 0, as `asr train` makes it"
            )

    @classmethod
    def train(
        cls, texts: Iterable[str], vocabulary_size: int, model_type: str = "unigram"
    ) -> "SentencePieceTokenizer":
        """Fit a model to transcripts.

        Args:
            texts: the training transcripts.
            vocabulary_size: the number V of ids wanted, the blank included.
            model_type: ``"unigram"`` prunes a large set of pieces to the likeliest (Kudo 2018);
                ``"bpe"`` joins the most frequent neighbours until there are V (Sennrich et al.
                2016), which makes whole words of a small set of them.

        Raises:
            ConfigError: an unknown type of model, or the text is too little for so large a
                vocabulary, or has more characters.
            TokenizerError: the text has white space other than the space.
        """
        if vocabulary_size < 2:
            raise ConfigError(
                f"tokenizer.vocabulary_size is {vocabulary_size}; expected a number such as 256"
            )
        if model_type not in MODEL_TYPES:
            raise ConfigError(
                f"tokenizer.model_type is '{model_type}'; expected one of {', '.join(MODEL_TYPES)}"
            )
        texts = list(texts)
        _refuse_white_space(set().union(*texts))
        buffer = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=buffer,
                model_type=model_type,
                vocab_size=vocabulary_size,
                character_coverage=1.0,
                normalization_rule_name="identity",
                unk_id=BLANK,
                bos_id=-1,
                eos_id=-1,
                # Sentencepiece leaves out longer lines without a word.
                max_sentence_length=max([10, *(len(text.encode()) + 1 for text in texts)]),
                # One thread: the pieces must not depend on the machine.
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2].strip() or str(error)
            raise ConfigError(
                f"no sentencepiece vocabulary of {vocabulary_size} pieces can be made from the "
                f"training text: {reason}"
            ) from error
        return cls(buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> "SentencePieceTokenizer":
        """Read what ``save`` wrote."""
        try:
            return cls((folder / cls.file_name).read_bytes())
        except OSError as error:
            raise TokenizerError(
                f"vocabulary {folder / cls.file_name} cannot be read: {error}"
            ) from error

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        pieces = (
            self._processor.id_to_piece(i) for i in range(1, self._processor.get_piece_size())
        )
        return (_BLANK_NAME, *pieces)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        return tuple(token.replace(_SPACE_SIGN, " ") for token in self.tokens)

    @property
    def vocabulary_size(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._processor.encode(text)
        # Sentencepiece's own sign for a space would come back as one.
        if BLANK in ids or _SPACE_SIGN in text:
            known = {character for piece in self.tokens[1:] for character in piece}
            known = known - {_SPACE_SIGN} | {" "}
            raise TokenizerError(_unknown(next(c for c in text if c not in known), text, known))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(str(self._processor.decode(list(ids))).split())

    def save(self, folder: Path) -> None:
        with atomic_write(folder / self.file_name, "wb") as stream:
            stream.write(self._model)


def _refuse_white_space(characters: Iterable[str]) -> None:
    # Decoding folds white space: anything but the space would not come back.
    odd = sorted(character for character in characters if character.isspace() and character != " ")
    if odd:
        raise TokenizerError(
            f"white space {odd[0]!r} (U+{ord(odd[0]):04X}) cannot be a token; separate the words "
            "of transcripts by single spaces"
        )


def _unknown(character: str, text: str, known: Iterable[str]) -> str:
    letters = "".join(sorted(token for token in known if len(token) == 1))
    return (
        f"character {character!r} (U+{ord(character):04X}) in '{text}' is not in the vocabulary "
        f"[{letters}]; normalise the transcript or train a vocabulary that has it"
    )


TOKENIZERS: dict[str, type[CharacterTokenizer] | type[SentencePieceTokenizer]] = {
    "characters": CharacterTokenizer,
    "sentencepiece": SentencePieceTokenizer,
}


def train_tokenizer(
    kind: str,
    texts: Iterable[str],
    vocabulary_size: int | None = None,
    model_type: str | None = None,
) -> Tokenizer:
    """Make a vocabulary from training transcripts.

    Args:
        kind: ``"characters"`` or ``"sentencepiece"``.
        texts: the training transcripts.
        vocabulary_size: the number of ids for sentencepiece; characters need none.
        model_type: ``"unigram"`` (also if None) or ``"bpe"`` for sentencepiece.

    Raises:
        ConfigError: an unknown kind, a size that is missing or not reachable.
    """
    if kind == CharacterTokenizer.kind:
        return CharacterTokenizer.train(texts)
    if kind != SentencePieceTokenizer.kind:
        raise ConfigError(f"no tokenizer '{kind}'; there are {', '.join(TOKENIZERS)}")
    if vocabulary_size is None:
        raise ConfigError("tokenizer.vocabulary_size is needed for sentencepiece, such as 256")
    return SentencePieceTokenizer.train(texts, vocabulary_size, model_type or MODEL_TYPES[0])


def load_tokenizer(kind: str, folder: Path) -> Tokenizer:
    """Read a vocabulary from a model folder.

    Raises:
        TokenizerError: an unknown kind, or a file that is missing or broken.
    """
    if str(kind) not in TOKENIZERS:
        raise TokenizerError(f"no tokenizer '{kind}'; there are {', '.join(TOKENIZERS)}")
    return TOKENIZERS[kind].load(folder)
