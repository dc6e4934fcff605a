"""Puts every word on its moment: refines what was heard, or finds known lyrics; groups lines; writes subtitles."""
