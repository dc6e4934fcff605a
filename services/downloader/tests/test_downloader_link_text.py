"""Which links are links, and what of them is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from singscript_downloader.engines.errors import InvalidLink
from singscript_downloader.engines.links import checked, shown


@given(st.text(max_size=60))
def test_any_text_is_a_link_or_refused(text: str) -> None:
    try:
        link = checked(text)
    except InvalidLink:
        return
    assert link.lower().startswith(("http://", "https://"))


@given(st.text(alphabet="ab/:@?#=.[]", max_size=30))
def test_what_is_shown_has_no_credentials(rest: str) -> None:
    assert "S3CRET" not in shown(f"https://user:S3CRET@example.com/{rest}?token=S3CRET#S3CRET")


def test_shown() -> None:
    assert shown("https://u:p@example.com:8/a?v=1#x") == "https://example.com:8/a"
    assert shown("https://example.com/watch?v=1", query=True) == "https://example.com/watch?v=1"
