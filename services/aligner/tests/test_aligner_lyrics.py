"""Reading lyrics."""

from __future__ import annotations

from singscript_aligner.lyrics.reading import read_lyrics


def test_empty_lines_and_headings_are_not_sung() -> None:
    text = "\ufeff[Verse 1]\r\nHello,  my\tfriend\n\n(Chorus x2)\nChorus:\nVerse 2\n(ooh) we go\nBreak\n[x2]\n"
    assert [line.text for line in read_lyrics(text)] == ["Hello, my friend", "(ooh) we go", "Break"]
    assert read_lyrics(text)[0].words == ("Hello,", "my", "friend")
    assert read_lyrics(" \n[Intro]\n") == []
