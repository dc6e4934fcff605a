"""The song on paper: its words, its tune, its rhythm and its chords. No sound is made here.

Text and tune were written for this repository.
"""

from dataclasses import dataclass

BEATS_PER_MINUTE = 100.0
BEAT_S = 60.0 / BEATS_PER_MINUTE
STEPS_PER_BEAT = 4
STEP_S = BEAT_S / STEPS_PER_BEAT

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def pitch_hz(name: str) -> float:
    """Frequency of a note such as "A3" or "Bb3" (A4 = 440 Hz, equal temperament)."""
    flat = name[1] == "b"
    octave = int(name[-1])
    semitones_above_a4 = _SEMITONES[name[0]] - flat - 9 + 12 * (octave - 4)
    return 440.0 * 2.0 ** (semitones_above_a4 / 12.0)


@dataclass(frozen=True)
class Phrase:
    """A melody for eight syllables.

    `steps` says at which sixteenth, counted from the phrase's first beat, the vowel of each syllable is due (a
    negative one is a pickup); `notes` says how high; `end_step` is where the last syllable stops, which leaves time
    for a breath.
    """

    steps: tuple[int, ...]
    notes: tuple[str, ...]
    end_step: float


@dataclass(frozen=True)
class SungLine:
    """One line of the lyrics, sung to `phrase` from `start_beat` of the song on."""

    text: str
    phrase: Phrase
    start_beat: int

    @property
    def words(self) -> list[str]:
        """The words as they are sung: lower case, no punctuation."""
        return ["".join(c for c in word if c.isalpha()).lower() for word in self.text.split()]

    @property
    def onsets_s(self) -> list[float]:
        """When the vowel of each syllable is due, in seconds from the start of the song."""
        return [self.start_beat * BEAT_S + step * STEP_S for step in self.phrase.steps]

    @property
    def end_s(self) -> float:
        """When the last syllable stops, in seconds from the start of the song."""
        return self.start_beat * BEAT_S + self.phrase.end_step * STEP_S

    @property
    def notes_hz(self) -> list[float]:
        """The pitch of each syllable."""
        return [pitch_hz(note) for note in self.phrase.notes]


# Function words are short and content words long, as a speaker has it: what is stretched then sounds meant.
_IAMBIC = (-1, 0, 3, 4, 7, 8, 11, 12)
_TROCHAIC = (0, 2, 4, 6, 8, 10, 12, 13)

_ASK = Phrase(_IAMBIC, ("Bb2", "D3", "D3", "C3", "Bb2", "C3", "Bb2", "A2"), 13.5)
_ANSWER = Phrase(_IAMBIC, ("A2", "C3", "C3", "D3", "C3", "Bb2", "A2", "Bb2"), 13.5)
_RISE = Phrase(_IAMBIC, ("Bb2", "D3", "D3", "Eb3", "D3", "C3", "D3", "F3"), 13.5)
_REST = Phrase(_IAMBIC, ("D3", "F3", "Eb3", "D3", "C3", "Bb2", "C3", "Bb2"), 13.5)
_CALL = Phrase(_TROCHAIC, ("D3", "D3", "F3", "D3", "Eb3", "D3", "C3", "C3"), 14.5)
_HOME = Phrase(_TROCHAIC, ("C3", "C3", "Eb3", "C3", "D3", "C3", "Bb2", "Bb2"), 14.5)

LINES: tuple[SungLine, ...] = (
    SungLine("The day is done, the rain is slow,", _ASK, 4),
    SungLine("and there is nowhere else to go.", _ANSWER, 8),
    SungLine("I left my troubles at the door,", _RISE, 12),
    SungLine("I never heard this song before.", _REST, 16),
    SungLine("We are walking by the river.", _CALL, 20),
    SungLine("There is music in the morning.", _HOME, 24),
    # The instrumental break: beats 28 to 34.
    SungLine("I hear the children sing along,", _RISE, 34),
    SungLine("the night is warm, the road is long.", _REST, 38),
    SungLine("We are walking by the river.", _CALL, 42),
    SungLine("There is music in the morning.", _HOME, 46),
)
STANZA_STARTS = (0, 4, 6, 8)
"""Indices into LINES before which lyrics.txt has an empty line (the first one aside)."""

TOTAL_BEATS = 54
DURATION_S = TOTAL_BEATS * BEAT_S

CHORDS: tuple[tuple[int, str], ...] = (
    (0, "Bb"),
    (4, "Bb"), (8, "F"), (12, "Eb"), (16, "Bb"),
    (20, "Gm"), (24, "Eb"),
    (28, "Bb"), (30, "F"), (32, "F"),
    (34, "Eb"), (38, "Bb"),
    (42, "Gm"), (46, "Eb"),
    (50, "Bb"),
)  # fmt: skip
"""(first beat, chord), in order; a chord lasts until the next one."""

CHORD_NOTES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Bb": ("Bb1", ("Bb3", "D4", "F4")),
    "F": ("F2", ("A3", "C4", "F4")),
    "Eb": ("Eb2", ("Bb3", "Eb4", "G4")),
    "Gm": ("G2", ("Bb3", "D4", "G4")),
}
"""Chord name to (bass note, chord notes)."""


def lyrics_text() -> str:
    """The lyrics as a user would hand them in: one line each, an empty line between stanzas."""
    rows: list[str] = []
    for index, line in enumerate(LINES):
        if index and index in STANZA_STARTS:
            rows.append("")
        rows.append(line.text)
    return "\n".join(rows) + "\n"
