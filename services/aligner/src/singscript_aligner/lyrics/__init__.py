"""Known lyrics: plain text, LRC, SRT or WebVTT, read to the lines that are sung."""
