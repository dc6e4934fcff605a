"""Known lyrics through the whole system to several files, a correction of them, and files made of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pysubs2
import pytest
import webvtt

from singscript_client import Client, Conflict, Job

DEMO = Path(__file__).resolve().parents[2] / "demo"
pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]


def files_of(client: Client, job: Job, folder: Path) -> dict[str, Path]:
    """All subtitle files of a job, by their names."""
    artifacts = [a for a in client.jobs.get(job.id).artifacts if a.name.startswith("lyrics.")]
    for artifact in artifacts:
        client.jobs.save(job.id, artifact, folder / artifact.name)
    return {a.name: folder / a.name for a in artifacts}


def test_a_corrected_word_is_in_every_file(client: Client, tmp_path: Path) -> None:
    lyrics = (DEMO / "lyrics.txt").read_text()
    job = client.jobs.create_from_file(
        DEMO / "demo.flac", lyrics=lyrics, formats=["srt", "ass", "vtt"], karaoke={"lead_in": True}
    )
    last = list(client.jobs.watch(job.id))[-1]
    assert last.data["state"] == "succeeded", last.data
    files = files_of(client, job, tmp_path)
    assert set(files) == {"lyrics.srt", "lyrics.ass", "lyrics.vtt"}

    before = client.jobs.words(job.id)
    assert before.revision == 1
    words = copy.deepcopy(before.document)
    line = words["lines"][1]
    line["words"][0]["text"] = "Zanzibar"
    line["text"] = " ".join(["Zanzibar", *line["text"].split()[1:]])
    line["words"][-1]["end_s"] = line["end_s"] = round(line["words"][-1]["end_s"] - 0.01, 3)
    assert client.jobs.correct(job.id, words, revision=1).revision == 2
    with pytest.raises(Conflict) as stale:
        client.jobs.correct(job.id, before.document, revision=1)
    assert stale.value.reason == "WORDS_CHANGED"

    standing = client.jobs.words(job.id)
    now = standing.document
    assert standing.revision == now["revision"] == 2
    timings = [w["timing"] for w in now["lines"][1]["words"]]
    assert timings[0] == timings[-1] == "corrected"
    assert now["lines"][0] == before.document["lines"][0]
    files = files_of(client, job, tmp_path)
    subtitles = [s for s in pysubs2.load(str(files["lyrics.srt"])) if "Zanzibar" in s.plaintext]
    assert [(s.plaintext, s.end) for s in subtitles] == [(line["text"], round(1000 * line["end_s"]))]
    assert any("Zanzibar" in s.plaintext for s in pysubs2.load(str(files["lyrics.ass"])))
    assert any("Zanzibar" in cue.text for cue in webvtt.read(str(files["lyrics.vtt"])))

    made = client.jobs.render(job.id, ["lrc-enhanced"], karaoke={"syllables": True})
    assert made.revision == 2
    assert "Zan" in files_of(client, job, tmp_path)[made.artifacts[0].name].read_text()
