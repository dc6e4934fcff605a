"""Known lyrics through the whole system to several files, a correction of them, and files made of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pysubs2
import pytest
import webvtt

from singscript_standalone.client import Client, RequestFailed

DEMO = Path(__file__).resolve().parents[2] / "demo"
pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]


def files_of(client: Client, job: dict[str, Any], folder: Path) -> dict[str, Path]:
    """All subtitle files of a job, by their names."""
    artifacts = [a for a in client.job(job["id"])["artifacts"] if a["name"].startswith("lyrics.")]
    for artifact in artifacts:
        client.save(artifact, folder / artifact["name"])
    return {a["name"]: folder / a["name"] for a in artifacts}


def test_a_corrected_word_is_in_every_file(client: Client, tmp_path: Path) -> None:
    lyrics = (DEMO / "lyrics.txt").read_text()
    job = client.submit_file(DEMO / "demo.flac", lyrics=lyrics, formats="srt,ass,vtt", karaoke='{"lead_in": true}')
    last = list(client.events(job["id"]))[-1]
    assert last.data["state"] == "succeeded", last.data
    files = files_of(client, job, tmp_path)
    assert set(files) == {"lyrics.srt", "lyrics.ass", "lyrics.vtt"}

    revision, before = client.words(job["id"])
    assert revision == 1
    words = copy.deepcopy(before)
    line = words["lines"][1]
    line["words"][0]["text"] = "Zanzibar"
    line["text"] = " ".join(["Zanzibar", *line["text"].split()[1:]])
    line["words"][-1]["end_s"] = line["end_s"] = round(line["words"][-1]["end_s"] - 0.01, 3)
    assert client.correct(job["id"], words, revision)["revision"] == 2
    with pytest.raises(RequestFailed) as stale:
        client.correct(job["id"], before, revision)
    assert stale.value.reason == "WORDS_CHANGED"

    revision, now = client.words(job["id"])
    assert revision == now["revision"] == 2
    timings = [w["timing"] for w in now["lines"][1]["words"]]
    assert timings[0] == timings[-1] == "corrected"
    assert now["lines"][0] == before["lines"][0]
    files = files_of(client, job, tmp_path)
    subtitles = [s for s in pysubs2.load(str(files["lyrics.srt"])) if "Zanzibar" in s.plaintext]
    assert [(s.plaintext, s.end) for s in subtitles] == [(line["text"], round(1000 * line["end_s"]))]
    assert any("Zanzibar" in s.plaintext for s in pysubs2.load(str(files["lyrics.ass"])))
    assert any("Zanzibar" in cue.text for cue in webvtt.read(str(files["lyrics.vtt"])))

    made = client.render(job["id"], ["lrc-enhanced"], syllables=True)
    assert made["revision"] == 2
    assert "Zan" in files_of(client, job, tmp_path)[made["artifacts"][0]["name"]].read_text()
