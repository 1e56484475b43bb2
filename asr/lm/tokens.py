"""Tokens as units of language models."""

from hashlib import sha256

from asr.tokenizer import Tokenizer

SPACE_NAME = "<space>"


def token_names(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Give each token a name without white space, as n-gram files need it."""
    return tuple(SPACE_NAME if token == " " else token for token in tokenizer.tokens)


def fingerprint(tokenizer: Tokenizer) -> str:
    """Give a short name that differs wherever the tokens of two tokenizers do."""
    return sha256("\n".join((tokenizer.kind, *tokenizer.tokens)).encode()).hexdigest()[:16]
