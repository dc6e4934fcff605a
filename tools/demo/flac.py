"""Writing FLAC files, through PyAV."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_COMPRESSION_LEVEL = "12"


def write_flac(path: Path, pcm: NDArray[np.int16], rate_hz: int) -> None:
    """Write `pcm` (n, channels), one or two channels, losslessly; no tags, so the same sound gives the same file."""
    layout = "mono" if pcm.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format="flac", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=rate_hz, layout=layout, format="s16")
        stream.codec_context.options = {"compression_level": _COMPRESSION_LEVEL, "flags": "+bitexact"}
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
