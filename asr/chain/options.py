"""What a recipe says about its chain."""

from dataclasses import dataclass

from asr.corpora import CORPORA
from asr.errors import ConfigError

LM_STEPS = ("lm", "tune", "evaluate-lm")
STEPS = (
    *("download", "prepare", "tokenizer", "train", "average", "evaluate"),
    *LM_STEPS,
    "results",
)


@dataclass(frozen=True)
class ChainOptions:
    """What a recipe says about its chain, all plain values.

    Attributes:
        corpus: a key of ``CORPORA``.
        root: where archives and corpus lie or go.
        parts: parts or groups of the corpus' release; none takes what lies in the root.
        manifests: where manifests and vocabulary go.
        evaluate: names of the manifests to decode at the end.
        lm: a language model to decode with as well: one of the corpus' release, such as
            "3-gram.pruned.1e-7", or a file; None for greedy decoding only.
        tune: names of the manifests that its weight is found on.
        valid_speakers: speakers to hold out of training: names, or a file that lists them.
        mirrors: places to download from, in the order to try them; the release's own if there is
            none.
        offline: download nothing; name what is missing.
        incomplete: take splits as they lie there, with fewer utterances than the official ones.
        delete_archives: once they are unpacked and verified.
        first: the step to begin with.
        last: the step to end with.

    Raises:
        ConfigError: an impossible value.
    """

    corpus: str
    root: str
    manifests: str
    parts: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    lm: str | None = None
    tune: tuple[str, ...] = ()
    valid_speakers: str = ""
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    incomplete: bool = False
    delete_archives: bool = False
    first: str = STEPS[0]
    last: str = STEPS[-1]

    def __post_init__(self) -> None:
        if self.corpus not in CORPORA:
            raise ConfigError(
                f"chain.corpus is '{self.corpus}'; expected one of {', '.join(CORPORA)}"
            )
        for key in ("first", "last"):
            step = getattr(self, key)
            if step not in STEPS:
                raise ConfigError(f"chain.{key} is '{step}'; expected one of {', '.join(STEPS)}")
            if step not in self.steps:
                raise ConfigError(f"chain.{key} is '{step}', but chain.lm names no language model")
        if STEPS.index(self.first) > STEPS.index(self.last):
            raise ConfigError(f"chain.first is '{self.first}', which comes behind '{self.last}'")
        tests = [name for name in self.tune if "test" in name.lower()]
        if self.lm and (tests or not self.tune):
            raise ConfigError(
                f"chain.tune is {list(self.tune)}; expected development sets, since what is tuned "
                "on a test set says nothing of other data"
            )

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps of this chain, those left out by ``first`` and ``last`` among them."""
        return tuple(step for step in STEPS if self.lm or step not in LM_STEPS)
