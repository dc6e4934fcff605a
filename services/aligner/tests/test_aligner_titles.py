"""What videos are called, and whose song that is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from singscript_aligner.titles import same_artist, same_title, songs


@pytest.mark.parametrize(
    ("artist", "title", "expected"),
    [
        ("Anna", "Night Train", [("Anna", "Night Train")]),
        ("", "Anna - Night Train (Official Video) [HD]", [("Anna", "Night Train")]),
        ("", "Anna – Night Train [Official Music Video 4K]", [("Anna", "Night Train")]),
        ("AnnaVEVO", "Anna - Night Train (Lyrics)", [("Anna", "Night Train")]),
        ("Anna - Topic", "Night Train", [("Anna", "Night Train")]),
        ("", "Anna ft. Ben - Night Train | Live Lounge", [("Anna", "Night Train")]),
        ("", "Anna - Night Train ft. Ben (Official Audio)", [("Anna", "Night Train")]),
        ("Anna", "Night Train (feat. Ben)", [("Anna", "Night Train")]),
        ("Anna feat. Ben", "Night Train - Remastered 2011", [("Anna", "Night Train")]),
        ("Some Label", "Anna - Night Train", [("Some Label", "Anna - Night Train"), ("Anna", "Night Train")]),
        ("Anna", "Video Games", [("Anna", "Video Games")]),
        ("Anna", "Train (To the Night)", [("Anna", "Train (To the Night)")]),
        ("Anna", "(Clipped) Wings", [("Anna", "(Clipped) Wings")]),
        ("Anna", "(Official Video)", [("Anna", "(Official Video)")]),
        ("Anna", "Night Train (With Love)", [("Anna", "Night Train (With Love)")]),
        ("Anna", "Gift feather", [("Anna", "Gift feather")]),
        ("", "Night Train", [("", "Night Train")]),
        ("Anna", "  ", []),
        ("", " - ", [("", "-")]),
    ],
)
def test_songs(artist: str, title: str, expected: list[tuple[str, str]]) -> None:
    assert songs(artist, title) == expected


@given(st.text(max_size=40), st.text(max_size=40))
@example("", "(video " * 30_000)
def test_any_names_are_taken(artist: str, title: str) -> None:
    found = songs(artist, title)
    assert all(name for _, name in found) and bool(found) == bool(title.split())


def test_the_same() -> None:
    assert same_title("Café del Mar", "Cafe Del Mar (Official Video)")
    assert same_title("Don't stop", "Don’t Stop (feat. Ben)")
    assert not same_title("Night Train", "Night Rain and Thunder")
    assert not same_title("!!!", "???")
    assert same_artist("Anna", "Anna & Ben")
    assert not same_artist("Anna", "Hans")
