"""Flite, the speech synthesiser, through its shared library: sound together with the exact time of each phone.

The command-line program prints phones without saying which word or syllable each belongs to; the library knows.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
from errors import DemoError
from numpy.typing import NDArray

_STRETCH = b"duration_stretch"
_INSTALL_HINT = "install it with `apt-get install flite` (Debian, Ubuntu)"


@dataclass(frozen=True)
class Phone:
    """A stretch of speech: which phone, where it ends, and to which word and syllable of the utterance it belongs.

    `word` and `syllable` count from 0 over the whole utterance and are -1 in pauses.
    """

    name: str
    end_s: float
    is_vowel: bool
    word: int
    syllable: int


@dataclass(frozen=True)
class Speech:
    """What the synthesiser said: `samples` is float64 (n,) within ±1."""

    samples: NDArray[np.float64]
    sample_rate_hz: int
    phones: list[Phone]


class _Wave(ctypes.Structure):
    """`cst_wave` of flite's cst_wave.h."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate_hz", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    """The head of `cst_voice` of flite's cst_voice.h."""

    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class Flite:
    """One voice of flite 2.x, for example "slt"."""

    def __init__(self, voice: str) -> None:
        library = f"libflite_cmu_us_{voice}.so.1"
        try:
            self._lib = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
            voice_lib = ctypes.CDLL(library)
        except OSError as error:
            raise DemoError(f"The speech synthesiser flite is missing ({error}): {_INSTALL_HINT}.") from error
        self._declare()
        self._lib.flite_init()
        register = getattr(voice_lib, f"register_cmu_us_{voice}")
        register.restype = ctypes.c_void_p
        register.argtypes = [ctypes.c_void_p]
        self._voice = register(None)
        self._features = ctypes.cast(self._voice, ctypes.POINTER(_Voice)).contents.features
        self._own_stretch: float = self._lib.flite_get_param_float(self._features, _STRETCH, 1.0)

    def _declare(self) -> None:
        """Pointers are 64 bits wide and ctypes takes results for int: every signature has to be told."""
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        signatures: dict[str, tuple[type | None, list[type]]] = {
            "flite_synth_text": (pointer, [text, pointer]),
            "utt_wave": (ctypes.POINTER(_Wave), [pointer]),
            "utt_relation": (pointer, [pointer, text]),
            "relation_head": (pointer, [pointer]),
            "item_next": (pointer, [pointer]),
            "item_feat_float": (ctypes.c_float, [pointer, text]),
            "ffeature_string": (text, [pointer, text]),
            "path_to_item": (pointer, [pointer, text]),
            "delete_utterance": (ctypes.c_int, [pointer]),
            "flite_feat_set_float": (None, [pointer, text, ctypes.c_float]),
            "flite_get_param_float": (ctypes.c_float, [pointer, text, ctypes.c_float]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments

    def say(self, text: str, stretch: float = 1.0) -> Speech:
        """Synthesise `text` as one utterance, which takes `stretch` times as long as this voice would."""
        lib = self._lib
        lib.flite_feat_set_float(self._features, _STRETCH, stretch * self._own_stretch)
        utterance = lib.flite_synth_text(text.encode("ascii"), self._voice)
        try:
            wave = lib.utt_wave(utterance).contents
            pcm = np.ctypeslib.as_array(wave.samples, shape=(wave.num_samples,))
            samples = pcm.astype(np.float64) / 32768.0
            return Speech(samples, wave.sample_rate_hz, self._phones(utterance))
        finally:
            lib.delete_utterance(utterance)

    def _phones(self, utterance: int) -> list[Phone]:
        lib = self._lib
        phones: list[Phone] = []
        words: dict[int, int] = {}
        syllables: dict[int, int] = {}
        item = lib.relation_head(lib.utt_relation(utterance, b"Segment"))
        while item:
            syllable_item = lib.path_to_item(item, b"R:SylStructure.parent")
            word_item = lib.path_to_item(item, b"R:SylStructure.parent.parent")
            phones.append(
                Phone(
                    name=lib.ffeature_string(item, b"name").decode("ascii"),
                    end_s=float(lib.item_feat_float(item, b"end")),
                    is_vowel=lib.ffeature_string(item, b"ph_vc") == b"+",
                    word=words.setdefault(word_item, len(words)) if word_item else -1,
                    syllable=syllables.setdefault(syllable_item, len(syllables)) if syllable_item else -1,
                )
            )
            item = lib.item_next(item)
        return phones
