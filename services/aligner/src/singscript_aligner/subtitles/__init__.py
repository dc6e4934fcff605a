"""Lines and words to subtitle files: a module a format, all of them from the same cues."""

from __future__ import annotations

from singscript_aligner.subtitles import ass, document, lrc, srt, tables, ttml, ultrastar, vtt
from singscript_aligner.subtitles.sheet import File, Format, Options, Sheet

__all__ = ["File", "Format", "Options", "Sheet", "render"]

_FILES = {
    Format.SRT: ("lyrics.srt", "application/x-subrip"),
    Format.SRT_WORDS: ("lyrics.words.srt", "application/x-subrip"),
    Format.VTT: ("lyrics.vtt", "text/vtt"),
    Format.ASS: ("lyrics.ass", "text/x-ssa; charset=utf-8"),
    Format.LRC: ("lyrics.lrc", "text/plain; charset=utf-8"),
    Format.LRC_ENHANCED: ("lyrics.enhanced.lrc", "text/plain; charset=utf-8"),
    Format.TTML: ("lyrics.ttml", "application/ttml+xml"),
    Format.JSON: ("lyrics.json", "application/json"),
    Format.TSV: ("lyrics.tsv", "text/tab-separated-values; charset=utf-8"),
    Format.AUDACITY: ("lyrics.audacity.txt", "text/plain; charset=utf-8"),
    Format.ULTRASTAR: ("lyrics.ultrastar.txt", "text/plain; charset=utf-8"),
    Format.TXT: ("lyrics.txt", "text/plain; charset=utf-8"),
}

_AS_USUAL = Options()


def render(sheet: Sheet, wanted: Format, options: Options = _AS_USUAL) -> File:
    """The file of a format, in UTF-8; valid also where the sheet has no lines."""
    name, media_type = _FILES[wanted]
    return File(name, _content(sheet, wanted, options).encode(), media_type)


def _content(sheet: Sheet, wanted: Format, options: Options) -> str:
    match wanted:
        case Format.SRT:
            return srt.by_line(sheet)
        case Format.SRT_WORDS:
            return srt.by_word(sheet)
        case Format.VTT:
            return vtt.write(sheet)
        case Format.ASS:
            return ass.write(sheet, options)
        case Format.LRC:
            return lrc.write(sheet)
        case Format.LRC_ENHANCED:
            return lrc.write_enhanced(sheet, syllables=options.syllables)
        case Format.TTML:
            return ttml.write(sheet)
        case Format.JSON:
            return document.write(sheet)
        case Format.TSV:
            return tables.tsv(sheet)
        case Format.AUDACITY:
            return tables.audacity(sheet)
        case Format.ULTRASTAR:
            return ultrastar.write(sheet, syllables=options.syllables)
        case Format.TXT:
            return tables.plain(sheet)
