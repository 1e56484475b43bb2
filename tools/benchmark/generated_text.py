"""Text whose words and their neighbours are as frequent as in a natural language, from one seed."""

import numpy as np

_MAX_SENTENCE = 40


def generate_sentences(words: int, vocabulary_size: int = 60_000, seed: int = 0) -> list[str]:
    """Make sentences in which words follow a Zipf-Mandelbrot law and pairs recur.

    After two words, five times in six the next one is drawn from a list that belongs to these
    two or to the last one, otherwise from all words.

    Args:
        words: about how many words to make.
        vocabulary_size: different words that may occur.
        seed: decides everything.
    """
    rng = np.random.default_rng(seed)
    weights = 1 / (np.arange(vocabulary_size) + 2.7)
    cumulative = np.cumsum(weights / weights.sum())

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return np.minimum(np.searchsorted(cumulative, rng.random(shape)), vocabulary_size - 1)

    lengths = rng.integers(4, _MAX_SENTENCE, words // (_MAX_SENTENCE // 2 + 1))
    text = draw((len(lengths), _MAX_SENTENCE))
    for i in range(2, _MAX_SENTENCE):
        last, before = text[:, i - 1], text[:, i - 2]
        kind = rng.random(len(text))
        # The follower of rank k is the word at a place that the context and k decide.
        rank = rng.zipf(1.6, len(text)) % 5000
        context = np.where(kind < 0.4, last * 7919 + before * 104_729, last * 7919)
        place = ((context + rank * 15_485_863) * 2_654_435_761 % 2**32) / 2**32
        follower = np.minimum(np.searchsorted(cumulative, place), vocabulary_size - 1)
        text[:, i] = np.where(kind < 5 / 6, follower, text[:, i])
    names = np.array([_name(i) for i in range(vocabulary_size)])
    return [
        " ".join(names[row[:length]]) for row, length in zip(text, lengths.tolist(), strict=True)
    ]


def _name(index: int) -> str:
    # Short words for the frequent ones.
    name = ""
    index += 26
    while index:
        index, letter = divmod(index, 26)
        name += chr(ord("A") + letter)
    return name
