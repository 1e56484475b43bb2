"""Time another decoder, in the environment that `decoding.py` describes, without this package."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def flashlight(meta: dict, arguments: dict) -> Callable[[np.ndarray], str]:
    """Build flashlight-text's decoder: without a lexicon, or with one and KenLM."""
    from flashlight.lib.text.decoder import (
        CriterionType,
        LexiconDecoder,
        LexiconDecoderOptions,
        LexiconFreeDecoder,
        LexiconFreeDecoderOptions,
        SmearingMode,
        Trie,
        ZeroLM,
    )
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    tokens = meta["tokens"]
    beam, width = int(arguments.get("beam", 16)), int(arguments["tokens"])
    size = min(width, len(tokens))
    pieces = "\u2581" in "".join(tokens)
    silence = tokens.index(" ") if " " in tokens else -1
    if not arguments["lm"]:
        options = LexiconFreeDecoderOptions(beam, size, 10.0, 0.0, 0.0, True, CriterionType.CTC)
        decoder = LexiconFreeDecoder(options, ZeroLM(), silence, 0, [])
    else:
        words = Dictionary()
        for word in meta["spellings"]:
            words.add_entry(word)
        words.add_entry("<unk>")
        unknown = words.get_index("<unk>")
        lm = KenLM(arguments["lm"], words)
        trie = Trie(len(tokens), silence)
        start = lm.start(False)
        place = {token: number for number, token in enumerate(tokens)}
        for word, spelling in meta["spellings"].items():
            number = words.get_index(word)
            _, score = lm.score(start, number)
            ending = [] if pieces else [silence]
            trie.insert([place[token] for token in spelling] + ending, number, score)
        trie.smear(SmearingMode.MAX)
        # Flashlight's weight multiplies decimal logarithms; ours natural ones.
        options = LexiconDecoderOptions(
            beam,
            size,
            25.0,
            arguments["weight"] * 2.302585,
            0.0,
            -1e9,
            0.0,
            True,
            CriterionType.CTC,
        )
        decoder = LexiconDecoder(options, trie, lm, silence, 0, unknown, [], False)

    # A word of the lexicon ends with a space, so one has to follow the last word too.
    space = np.full((1, len(tokens)), -30.0, np.float32)
    space[0, silence] = 0.0

    def decode(rows: np.ndarray) -> str:
        if arguments["lm"] and not pieces:
            rows = np.concatenate([rows, space])
        rows = np.ascontiguousarray(rows)
        best = decoder.decode(rows.ctypes.data, *rows.shape)[0]
        if arguments["lm"]:
            return " ".join(words.get_entry(word) for word in best.words if word >= 0)
        path = [token for token in best.tokens if token >= 0]
        kept = [t for i, t in enumerate(path) if t and (not i or t != path[i - 1])]
        return " ".join("".join(tokens[t] for t in kept).replace("\u2581", " ").split())

    return decode


def pyctcdecode(meta: dict, arguments: dict) -> Callable[[np.ndarray], str]:
    """Build pyctcdecode's decoder."""
    from pyctcdecode import build_ctcdecoder

    labels = ["", *meta["tokens"][1:]]
    if arguments["lm"]:
        decoder = build_ctcdecoder(
            labels,
            arguments["lm"],
            unigrams=list(meta["spellings"]),
            alpha=arguments["weight"],
            beta=0.0,
        )
    else:
        decoder = build_ctcdecoder(labels)
    return lambda rows: decoder.decode(rows, beam_width=int(arguments.get("beam", 16)))


def main() -> None:
    """Decode everything once for the texts and several times for the time."""
    folder, arguments = Path(sys.argv[1]), json.loads(sys.argv[2])
    meta = json.loads((folder / "meta.json").read_text())
    data = np.load(folder / "data.npz")
    rows = np.split(data["rows"], np.cumsum(data["counts"])[:-1])
    build = {"flashlight": flashlight, "pyctcdecode": pyctcdecode}[arguments["contender"]]
    decode = build(meta, arguments)
    texts = [decode(each) for each in rows]
    times = []
    for _ in range(arguments["rounds"]):
        started = time.process_time()
        for each in rows:
            decode(each)
        times.append(time.process_time() - started)
    print(json.dumps({"ms": 1e3 * sorted(times)[len(times) // 2] / len(rows), "texts": texts}))


if __name__ == "__main__":
    main()
