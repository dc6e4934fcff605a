"""The child process of the sphinx engine: PocketSphinx holds Python's lock while it decodes, a service must not.

Standard input: windows, each a 32-bit little-endian byte count and that much PCM (16 bit, 16 kHz, mono).
Standard output: for each window one line of JSON, a list of [word, first frame, last frame, posterior]; 100 frames a
second. Ends with its input, so it never outlives the service.
"""

from __future__ import annotations

import json
import signal
import struct
import sys

from pocketsphinx import Decoder


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then closes our input
    # Wider beams than the default find more words; the cap on active states keeps music from costing many times more.
    decoder = Decoder(samprate=16000, loglevel="FATAL", maxhmmpf=5000, beam=1e-60, wbeam=1e-40)
    stdin, stdout = sys.stdin.buffer, sys.stdout
    while len(header := stdin.read(4)) == 4:
        size = struct.unpack("<I", header)[0]
        pcm = stdin.read(size)
        if len(pcm) < size:
            return
        # What it has learnt of the noise stays with it otherwise: a window would be heard by what came before it.
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        words = [(s.word, s.start_frame, s.end_frame, s.prob) for s in decoder.seg() or ()]
        stdout.write(json.dumps(words) + "\n")
        stdout.flush()


if __name__ == "__main__":
    main()
