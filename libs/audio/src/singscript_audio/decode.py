"""Any audio or video file to blocks of sound, through FFmpeg's libraries (PyAV).

What comes in is not trusted: FFmpeg may use only the demuxers listed here, may open nothing but the one file that
it was given, and what it raises never leaves this module.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from singscript_audio.mix import default_layout
from singscript_audio.resample import Resampler
from singscript_core.errors import Rejected, StageError

# By FFmpeg's names. No playlists or scripts (hls, dash, concat), no devices, no images, and no raw PCM, which any
# file could be taken for.
DEMUXERS = (
    "wav",
    "w64",
    "flac",
    "mp3",
    "ogg",
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "aac",
    "aiff",
    "caf",
    "asf",
    "mpegts",
    "mpeg",
    "avi",
    "flv",
    "au",
    "amr",
    "ac3",
    "wv",
    "ape",
    "tta",
)

_BLOCK_S = 0.5
_PIECE_S = 0.25
_MIN_SAMPLE_RATE_HZ = 2_000
_MAX_SAMPLE_RATE_HZ = 768_000
_MAX_CHANNELS = 24
# Float files may go beyond full scale; no further than this, so that no later sum overflows.
_MAX_LEVEL = 8.0
# A jump in the timestamps is filled with silence: at once after a packet was lost; else only when it is more than the
# jitter of careless muxers; and never when it is so long that the timestamps rather started anew.
_MIN_GAP_LOST_S = 0.001
_MIN_GAP_S = 0.1
_MAX_GAP_S = 60.0
_MAX_READ_FAILURES = 16


class UnsupportedFormat(Rejected):
    """Not a kind of file that can be decoded."""

    reason = "UNSUPPORTED_FORMAT"


class NoAudio(Rejected):
    """A file of a known kind, with no sound in it."""

    reason = "NO_AUDIO"


class DecodeFailed(Rejected):
    """A file of a known kind, cut or damaged."""

    reason = "DECODE_FAILED"


class TooLong(Rejected):
    """More sound than is allowed; `limit_s` in the metadata."""

    reason = "TOO_LONG"


@dataclass(frozen=True, slots=True)
class MediaProbe:
    """What the headers of a file say; they may lie.

    Attributes:
        duration_s: None when unknown.
        format: container, for display: "mp3", "webm".
        codec: "opus", "aac".
        title, artist: empty when unknown.
    """

    duration_s: float | None
    format: str
    codec: str
    sample_rate_hz: int
    channels: int
    title: str
    artist: str


def probe(file: Path | BinaryIO) -> MediaProbe:
    """Reads the headers of a file.

    Raises:
        UnsupportedFormat, NoAudio, DecodeFailed: as `decode`.
        OSError: the path cannot be opened.
    """
    with _opened(file) as container:
        stream = _audio_stream(container)
        codec = stream.codec_context.codec.canonical_name
        tags = {k.lower(): v for k, v in (stream.metadata | container.metadata).items()}
        return MediaProbe(
            duration_s=_duration_s(container, stream),
            format=_display_name(container, codec),
            codec=codec,
            sample_rate_hz=stream.codec_context.sample_rate,
            channels=stream.codec_context.channels,
            title=tags.get("title", "").strip(),
            artist=tags.get("artist", "").strip(),
        )


def decode(
    file: Path | BinaryIO, *, sample_rate_hz: int, channels: int, max_duration_s: float | None = None
) -> Generator[NDArray[np.float32], None, None]:
    """Decodes the best audio stream of a file.

    What is missing by the timestamps (packets that do not decode, damage that had to be skipped) becomes silence, so
    that what follows keeps its time; what is missing at the end is left out. Where the greater part of the sound's
    bytes does not decode, the file counts as damaged.

    Args:
        file: a path, or a file object, which is read from its start and left open.
        sample_rate_hz, channels: of the blocks; see `mix_matrix` for how channels are mixed.
        max_duration_s: more sound than this is refused, whatever the headers say. Set it for files of strangers:
            a small file can hold days of silence.

    Yields:
        Blocks of shape (n, channels), half a second or a little more each; the last one may be shorter.

    Raises:
        UnsupportedFormat, NoAudio, DecodeFailed, TooLong: at any block, the first included.
        OSError: the path cannot be opened.
    """
    if channels not in (1, 2):
        raise ValueError(f"blocks have 1 or 2 channels, not {channels}")
    limit = None if max_duration_s is None else round(max_duration_s * sample_rate_hz)
    block_samples = round(_BLOCK_S * sample_rate_hz)
    total = 0
    waiting: list[NDArray[np.float32]] = []
    waiting_samples = 0
    with _opened(file) as container:
        for piece in _pieces(container, sample_rate_hz, channels):
            total += len(piece)
            if limit is not None and total > limit:
                raise TooLong(
                    f"The sound is longer than {max_duration_s:g} s, the limit here. Send a shorter one.",
                    metadata={"limit_s": f"{max_duration_s:g}"},
                )
            waiting.append(piece)
            waiting_samples += len(piece)
            if waiting_samples >= block_samples:
                yield np.concatenate(waiting)
                waiting, waiting_samples = [], 0
        if waiting_samples:
            yield np.concatenate(waiting)
        if not total:
            raise DecodeFailed("No sound could be decoded from the file: it is cut or damaged.")


def _pieces(
    container: InputContainer, sample_rate_hz: int, channels: int
) -> Generator[NDArray[np.float32], None, None]:
    """The sound at the wanted rate, in short pieces; a new resampler where the format changes on the way."""
    current: _Sound | None = None
    resampler: Resampler | None = None
    for sound in _sounds(container):
        if current is None or resampler is None or not sound.same_format(current):
            if resampler:
                yield resampler.flush()
            resampler = Resampler(
                sound.sample_rate_hz, len(sound.layout), sample_rate_hz, channels, layout=sound.layout
            )
        current = sound
        step = round(_PIECE_S * sound.sample_rate_hz)
        for start in range(0, len(sound.block), step):
            yield resampler.push(sound.block[start : start + step])
    if resampler:
        yield resampler.flush()


@dataclass(frozen=True, slots=True)
class _Sound:
    """One decoded frame: `block` of shape (n, channels) at its own rate and speaker layout."""

    block: NDArray[np.float32]
    sample_rate_hz: int
    layout: list[str]

    def same_format(self, other: _Sound) -> bool:
        return self.sample_rate_hz == other.sample_rate_hz and self.layout == other.layout

    def silence(self, duration_s: float) -> Iterator[_Sound]:
        """So much silence of this format, in short pieces."""
        samples = round(duration_s * self.sample_rate_hz)
        step = round(_PIECE_S * self.sample_rate_hz)
        for start in range(0, samples, step):
            yield replace(self, block=np.zeros((min(step, samples - start), len(self.layout)), np.float32))


def _sounds(container: InputContainer) -> Generator[_Sound, None, None]:
    """Every decoded frame of the best audio stream; silence where the timestamps say that something is missing."""
    good_bytes = bad_bytes = 0
    lost = False
    last: _Sound | None = None
    end_s: float | None = None
    to_floats = _ToFloats()
    for packet in _packets(container, _audio_stream(container)):
        frames = _decoded(packet)
        if frames:
            good_bytes += packet.size
        else:
            bad_bytes += packet.size
            lost = True
        for frame in frames:
            if last and end_s is not None and frame.time is not None:
                gap_s = frame.time - end_s
                if (_MIN_GAP_LOST_S if lost else _MIN_GAP_S) < gap_s < _MAX_GAP_S:
                    yield from last.silence(gap_s)
            last = to_floats(frame)
            yield last
            end_s = None if frame.time is None else frame.time + frame.samples / frame.sample_rate
            lost = False
    if bad_bytes > good_bytes:
        raise DecodeFailed("Most of the file could not be decoded: it is damaged. Send another copy.")


def _packets(container: InputContainer, stream: AudioStream) -> Generator[Packet[AudioStream], None, None]:
    """All packets up to the end of the file, or up to where nothing can be read any more."""
    failures = 0
    while failures < _MAX_READ_FAILURES:
        try:
            for packet in container.demux(stream):
                failures = 0
                yield packet
        except StageError:
            raise
        except Exception:  # noqa: BLE001 - PyAV raises IndexError, UnicodeDecodeError and ValueError too
            failures += 1
        else:
            return


def _decoded(packet: Packet[AudioStream]) -> list[AudioFrame]:
    """The frames of a packet; none if it is damaged."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, AudioFrame)]
    except StageError:
        raise
    except Exception:  # noqa: BLE001 - as above
        return []


class _ToFloats:
    """Frames of any sample format as packed floats; rates and channels stay."""

    def __init__(self) -> None:
        self._converter = AudioResampler(format="flt")
        self._format: tuple[str, str, int] | None = None

    def __call__(self, frame: AudioFrame) -> _Sound:
        channels = frame.layout.nb_channels
        if not _MIN_SAMPLE_RATE_HZ <= frame.sample_rate <= _MAX_SAMPLE_RATE_HZ or not 1 <= channels <= _MAX_CHANNELS:
            raise UnsupportedFormat(
                f"Sound of {frame.sample_rate} Hz with {channels} channels cannot be decoded. Convert it first."
            )
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_format != self._format:
            self._converter = AudioResampler(format="flt")
            self._format = frame_format
        converted = [out.to_ndarray().reshape(-1, channels) for out in self._converter.resample(frame)]
        block = np.concatenate(converted) if converted else np.empty((0, channels), np.float32)
        block = np.nan_to_num(block.astype(np.float32), posinf=_MAX_LEVEL, neginf=-_MAX_LEVEL)
        block = np.clip(block, -_MAX_LEVEL, _MAX_LEVEL)
        return _Sound(block, frame.sample_rate, _layout_names(frame))


def _layout_names(frame: AudioFrame) -> list[str]:
    names = [channel.name for channel in frame.layout.channels]
    return default_layout(len(names)) if "NONE" in names else names


@contextmanager
def _opened(file: Path | BinaryIO) -> Generator[InputContainer, None, None]:
    """The file as a container that is closed on every way out; any trouble inside becomes a `StageError`."""
    if isinstance(file, Path):
        with file.open("rb") as opened, _opened(opened) as container:
            yield container
        return
    head = _head(file)
    try:
        container = av.open(
            _Source(file),
            "r",
            container_options={"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "none"},
            metadata_errors="replace",
            io_open=refuse_to_open,
        )
    except StageError:
        raise
    except Exception as error:  # PyAV's have no common type
        if not head or _looks_like_media(head):
            raise DecodeFailed("The file is empty, cut or damaged. Send another copy.") from error
        raise UnsupportedFormat(
            "The file is no audio or video known here. Send MP3, FLAC, WAV, OGG, M4A, MP4 or WebM."
        ) from error
    try:
        with container:
            yield container
    except StageError:
        raise
    except Exception as error:
        raise DecodeFailed("The file could not be decoded: it is damaged. Send another copy.") from error


class _Source:
    """The one file that FFmpeg may read. It has no name: FFmpeg would guess the format from it."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        if file.seekable():
            self.seek = file.seek
            self.tell = file.tell


def refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """For `av.open(io_open=...)`: whatever else FFmpeg would open by name is refused."""
    raise PermissionError("a media file may not name other files")


def _head(file: BinaryIO) -> bytes:
    """The first bytes of a file that can be rewound; nothing else can be looked at twice."""
    if not file.seekable():
        return b""
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    return head


def _looks_like_media(head: bytes) -> bool:
    """Whether a file that could not be opened was meant to be one of `DEMUXERS`; only chooses the error."""
    starts = (
        b"fLaC",
        b"OggS",
        b"ID3",
        b"\x1aE\xdf\xa3",
        b"caff",
        b"riff.\x91\xcf\x11",
        b"0&\xb2u",
        b"FLV\x01",
        b".snd",
    )
    starts += (b"#!AMR", b"\x0bw", b"wvpk", b"MAC ", b"TTA", b"\x00\x00\x01\xba")
    if head.startswith(starts):
        return True
    if head[:4] in (b"RIFF", b"RF64", b"FORM"):
        return head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC", b"")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return True
    mpeg_audio = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return mpeg_audio or (head[:1] == b"G" and head[188:189] == b"G")


def _audio_stream(container: InputContainer) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise NoAudio("The file has no sound in it. Send one that has.")
    if stream.codec_context is None:
        raise UnsupportedFormat(
            "The sound in the file is coded in a way that is not known here. Convert it to MP3 or FLAC."
        )
    return stream


def _duration_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration:
        duration_s = container.duration / av.time_base
    else:
        return None
    return duration_s if duration_s > 0 else None


def _display_name(container: InputContainer, codec: str) -> str:
    name = container.format.name
    if name == "matroska,webm":
        return "webm" if codec in ("opus", "vorbis") else "matroska"
    return "mp4" if name.startswith("mov,") else name
