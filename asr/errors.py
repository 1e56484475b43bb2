"""Errors a user can mend: each says the value found, what was expected, and what to do."""


class AsrError(Exception):
    """A failure explained in one sentence, shown without a traceback.

    ``exit_code`` is what the command line returns for it.
    """

    exit_code = 1


class UsageError(AsrError):
    """The command line, a path or a combination of options is off."""

    exit_code = 2


class ConfigError(AsrError):
    """A configuration key or value is unknown, missing or impossible."""

    exit_code = 2


class AudioError(AsrError):
    """An audio file is missing, empty, damaged or in a format that nothing here reads."""


class ManifestError(AsrError):
    """A manifest line is broken, a key is missing or an id stands twice."""


class TokenizerError(AsrError):
    """A text holds a character outside the vocabulary, or a vocabulary file is broken."""


class CorpusError(AsrError):
    """A corpus does not have the layout that its official release has."""

    exit_code = 2


class ScoringError(AsrError):
    """References and hypotheses cannot be joined: ids are missing, unknown or doubled."""


class ModelFolderError(AsrError):
    """A model folder is incomplete, damaged or of a format number not known here."""

    exit_code = 3


class ExportError(AsrError):
    """An exported model recognises worse than it may."""


class TrainingError(AsrError):
    """Training cannot start or go on: foreign run directory, no usable data, NaN loss."""


class DownloadError(AsrError):
    """A file cannot be had, is not what it should be, or does not fit on the disk."""


class TextError(AsrError):
    """Text to train or to measure a language model on is missing, broken or unusable."""


class LanguageModelError(AsrError):
    """A language model is damaged, or does not fit the model that it is used with."""

    exit_code = 3


class PreemptedError(AsrError):
    """A signal stopped training behind a checkpoint; the same command goes on."""

    # 128 + SIGTERM, what a shell reports of a process that the signal itself has ended.
    exit_code = 143
