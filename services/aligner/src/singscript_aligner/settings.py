"""What can be set, each from the environment."""

from __future__ import annotations

from pydantic import Field

from singscript_aligner.lines import LineRules
from singscript_core.settings import ModelSettings, Names, ServiceSettings
from singscript_egress.addresses import AllowedHosts


class AlignerSettings(ServiceSettings, ModelSettings):
    """Read from `SINGSCRIPT_<FIELD>`."""

    aligner_engines: Names = Field(
        ("ctc", "sphinx", "whisper"),
        min_length=1,
        description="Engines, tried in this order; separated by commas. What has no weights is passed over.",
    )
    whisper_model: str = Field(
        "small",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Model of the engine whisper. Where it is not on this machine, the largest one that is.",
    )
    whisper_idle_s: float = Field(
        900.0, ge=0, description="A Whisper model that nobody has used for so long is unloaded; 0: never."
    )
    downloader: str = Field("", description="Address of the downloader, for requests that name it.")
    transcriber: str = Field("", description="Address of the transcriber, for requests that name it.")
    lyrics_lookup: str = Field(
        "", description="Where lyrics may be looked up, such as `https://lrclib.net`. Empty: nowhere."
    )
    download_allow_hosts: AllowedHosts = Field(
        "", description="Hosts (host or host:port, comma-separated) that may be asked for lyrics although not public."
    )
    max_duration_s: float = Field(10_800.0, gt=0, description="Longer sound is refused with TOO_LONG.")
    line_chars: int = Field(42, ge=10, le=200, description="Characters in a line, where the lyrics are not given.")
    lines_on_screen: int = Field(
        2, ge=1, le=3, description="Lines that stand on the screen together, one above another."
    )
    line_duration_s: float = Field(7.0, ge=1, description="A line takes at most this long.")
    line_min_duration_s: float = Field(1.0, ge=0, description="A line stays at least this long, where there is room.")
    reading_speed: float = Field(17.0, gt=0, description="Characters a second that a viewer can read.")

    @property
    def line_rules(self) -> LineRules:
        return LineRules(
            max_chars=self.line_chars,
            lines_on_screen=self.lines_on_screen,
            max_duration_s=self.line_duration_s,
            min_duration_s=self.line_min_duration_s,
            reading_speed=self.reading_speed,
        )
