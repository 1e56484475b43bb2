"""Spoken: half an hour of commands read by espeak-ng, made on the spot without any network.

Sentences of a small grammar ("PLEASE TURN ON THE RED LIGHT IN THE KITCHEN", 40 words) are read by
32 synthetic speakers: combinations of accent, voice variant, pitch, liveliness and speed. Speakers
of dev and test are never heard in train. ``asr.corpora.reading`` says how it is laid out.

It is for demonstrations and tests: a model trained on it understands espeak-ng, not people.
"""

import random

from asr.corpora.reading import Script, SpokenSplit, spoken_corpus

COLOURS = ("RED", "GREEN", "BLUE", "WHITE")
ROOMS = ("KITCHEN", "BEDROOM", "GARDEN")
SEVERAL = ("TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN")


def compose_sentence(draw: random.Random) -> str:
    """Make up a command.

    Args:
        draw: the source of all choices.

    Returns:
        A sentence in upper case without punctuation, of 2 to 11 words.
    """
    where = f" IN THE {draw.choice(ROOMS)}" if draw.random() < 0.6 else ""
    thing = draw.choice(("LIGHT", "LAMP"))
    if draw.random() < 0.7:
        thing = f"{draw.choice(COLOURS)} {thing}"
    command = draw.choice(
        (
            f"TURN {draw.choice(('ON', 'OFF'))} THE {thing}{where}",
            f"TURN {draw.choice(('ON', 'OFF'))} {draw.choice(SEVERAL)} {thing}S{where}",
            f"{draw.choice(('OPEN', 'CLOSE'))} THE {draw.choice(('DOOR', 'WINDOW'))}{where}",
            f"{draw.choice(('PLAY', 'STOP'))} THE {draw.choice(('MUSIC', 'RADIO'))}{where}",
            f"START THE {draw.choice(('ONE', *SEVERAL))} MINUTE TIMER{where}",
            f"{draw.choice(('START', 'STOP'))} THE FAN{where}",
        )
    )
    manner = draw.random()
    if manner < 0.2:
        return f"PLEASE {command}"
    return f"{command} NOW" if manner < 0.4 else command


SPOKEN_SCRIPT = Script(compose_sentence)
SPOKEN = spoken_corpus(
    "half an hour of commands read by espeak-ng; made on the spot if DIR has none yet",
    SPOKEN_SCRIPT,
    {"train": SpokenSplit(24, 25), "dev": SpokenSplit(4, 20), "test": SpokenSplit(4, 20)},
)
