"""What openslr.org offers of LibriSpeech: seven parts (SLR12), the mini corpus (SLR31), texts and
language models (SLR11).

SHA-256 and number of utterances of the seven parts are stated by others; of the rest nothing at
hand states them. There a list of checksums that the mirror offers decides, the size as the server
declares it, gzip's own checksum, and that every transcript has its audio.
"""

from asr.corpora.release import Part, Release

DEV_TEST = ("dev-clean", "dev-other", "test-clean", "test-other")

# Checksums: torchaudio 2.11, torchaudio/datasets/librispeech.py, _CHECKSUMS. Numbers of utterances:
# those of the data preparation of Kaldi, ESPnet, lhotse and others; sizes: openslr.org/12; hours:
# Panayotov et al. 2015, table 1.
_SEVEN = (
    ("dev-clean", 2703, 0.34, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    ("dev-other", 2864, 0.31, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    ("test-clean", 2620, 0.35, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    ("test-other", 2939, 0.33, "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
    (
        *("train-clean-100", 28539, 6.3),
        "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    ),
    (
        *("train-clean-360", 104014, 23.0),
        "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    ),
    (
        *("train-other-500", 148688, 30.0),
        "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
    ),
)
_HOURS = {
    "dev-clean": 5.4,
    "dev-other": 5.3,
    "test-clean": 5.4,
    "test-other": 5.1,
    "train-clean-100": 100.6,
    "train-clean-360": 363.6,
    "train-other-500": 496.7,
}
_MINI = (("train-clean-5", 0.33), ("dev-clean-2", 0.13))
# Texts and models of openslr.org/11: the name for users, the file, its size.
_LANGUAGE = (
    ("lm-text", "librispeech-lm-norm.txt.gz", 1.4),
    ("lm-3gram-1e-7", "3-gram.pruned.1e-7.arpa.gz", 0.034),
    ("lm-3gram-3e-7", "3-gram.pruned.3e-7.arpa.gz", 0.013),
    ("lm-4gram", "4-gram.arpa.gz", 1.3),
)

LIBRISPEECH_RELEASE = Release(
    mirrors=(
        "https://www.openslr.org/resources",
        "https://us.openslr.org/resources",
        "https://openslr.elda.org/resources",
        "https://openslr.magicdatatech.com/resources",
    ),
    top="LibriSpeech",
    parts=(
        *(
            Part(
                *(name, f"12/{name}.tar.gz", size, sha256, utterances),
                split=name,
                hours=_HOURS[name],
            )
            for name, utterances, size, sha256 in _SEVEN
        ),
        *(Part(name, f"31/{name}.tar.gz", size, split=name) for name, size in _MINI),
        *(Part(name, f"11/{file}", size, folder="lm") for name, file, size in _LANGUAGE),
    ),
    groups={
        "mini": tuple(name for name, _ in _MINI),
        "dev-test": DEV_TEST,
        "100h": ("train-clean-100", *DEV_TEST),
        "960h": tuple(name for name, *_ in _SEVEN),
        "lm": tuple(name for name, *_ in _LANGUAGE),
    },
    sha256_source="torchaudio 2.11, datasets/librispeech.py",
    licence="CC BY 4.0",
)
