"""Sound as a stream of blocks: decoding any file, resampling, writing files, levels, and the chunks on the wire.

A block is always a float32 array of shape (samples, channels), full scale at -1.0 and 1.0. Nothing here holds a
whole file in memory.
"""
