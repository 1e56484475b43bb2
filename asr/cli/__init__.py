"""The command line: one program, one file a verb, and no import before a verb is known."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from asr.errors import AsrError

VERBS = {
    "demo": "make a small spoken corpus, train on it, transcribe and score: all verbs in 4 minutes",
    "download": "bring a corpus onto the disk: resumed, verified, unpacked",
    "prepare": "turn a corpus into verified JSONL manifests",
    "tokenizer": "fit a vocabulary to training transcripts",
    "train": "train a model from a recipe; takes Hydra overrides; --dry-run tells what it takes",
    "average": "make one model of the weights that a run kept of several epochs",
    "export": "write a model as ONNX graphs, which transcribe faster on a CPU and without torch",
    "transcribe": "write what is said in audio files",
    "evaluate": "transcribe a manifest and score it by word error rate",
    "score": "set hypotheses of any system against references: word error rate and where it lies",
    "compare": "tell whether two or more systems differ by more than chance, and where",
    "lm": "make language models from text, convert and measure them",
    "align": "tell when each word and token of a known text is said",
    "tune": "find a decoder's weights on a development set and write them into the model folder",
    "inspect": "draw what the gates of a model do over a recording, or sum them up over many",
}
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the words after the program's name; the process's own when None.

    Returns:
        The exit code: 0 all well, 1 some inputs failed, 2 wrong usage, 3 model unusable,
        130 interrupted, 143 stopped by a signal behind a checkpoint.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        from asr import __version__

        print(f"asr {__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        print(f"asr: '{verb}' is no verb; {_nearest(verb)}see `asr --help`", file=sys.stderr)
        return 2
    try:
        return _run(importlib.import_module(f"asr.cli.{verb}"), verb, words[1:])
    except AsrError as error:
        print(f"asr {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        # Exported models are transcribed on machines with little more than a runtime for them.
        if error.name is None or error.name.split(".")[0] == "asr":
            raise
        print(
            f"asr {verb}: the package {error.name} is not installed; only exported models do with "
            "few of asr's dependencies, as README.md lists them: `pip install` the others",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"\nasr {verb}: interrupted; run the same command to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; keep the shutdown quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"asr {verb}: {error.strerror or error}{place}", file=sys.stderr)
        return 1


def _run(module: ModuleType, verb: str, words: list[str]) -> int:
    # Hydra parses the words of `train` itself.
    if hasattr(module, "run_words"):
        return int(module.run_words(words))
    parser = argparse.ArgumentParser(prog=f"asr {verb}", description=VERBS[verb])
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {purpose}" for verb, purpose in VERBS.items()]
    return "\n".join(
        ["usage: asr VERB ...", "", *lines, "", "`asr VERB --help` tells what a verb takes."]
    )


def _nearest(verb: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    return f"did you mean '{near[0]}'? " if near else ""


if __name__ == "__main__":
    sys.exit(main())
