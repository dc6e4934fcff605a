"""The checkpoints that Demucs has released: where each can be had, and what it must contain.

The name of a released checkpoint, `<signature>-<digits>.th`, ends in the first 8 digits of its SHA-256. The whole sums
below are those that others pin as well and that begin with these digits. For the models `mdx_q` and `repro_mdx_a*` no
whole sum is published: there the 32 bits of the name are all that is checked, enough against accidents. That is no way
in for code either: nothing that is downloaded is run (see `convert`).
"""

from __future__ import annotations

import os

from singscript_models.download import Source

_DEMUCS = "https://dl.fbaipublicfiles.com/demucs"


def sources(signature: str) -> tuple[Source, ...]:
    """Where a released checkpoint can be had, the better place first; empty for any other signature.

    A file is named `.safetensors`, or `.th` where it is a pickle, which has to be converted.
    HF_ENDPOINT stands for the Hugging Face hub where it is set.
    """
    found: list[Source] = []
    if signature in _HUB:
        repository, revision, sha256, size_bytes = _HUB[signature]
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        url = f"{hub}/adefossez/{repository}/resolve/{revision}/{signature}.safetensors"
        found.append(Source(url, sha256, size_bytes))
    if signature in _PICKLES:
        folder, sha256, size_bytes = _PICKLES[signature]
        found.append(Source(f"{_DEMUCS}/{folder}/{signature}-{sha256[:8]}.th", sha256, size_bytes))
    return tuple(found)


# signature: repository and revision of the hub, SHA-256 and bytes of <signature>.safetensors
_BASE = ("HTDemucs", "bf35a81b663819a8255c8fefee17f9d812b786b5")
_FINE = ("HTDemucs-ft", "478be8a68f85418addd6f7baefd4be76522a4034")
_SIX = ("HTDemucs-6s", "053e1404489b3dc58bf718224fac4b7316de8c93")
_HUB: dict[str, tuple[str, str, str, int]] = {
    "955717e8": (*_BASE, "d9fa14133cfcc034a6758923bb3a8ca9f8dfd0b582134643bbf83f72c17576dd", 84_025_440),
    "f7e0c4bc": (*_FINE, "2c85ab3c62dd6edd8e0b965e38b16fd1cdde357cc25de6b6bc9ce7c83f60925f", 84_025_440),
    "d12395a8": (*_FINE, "5b01a97567ae9a3178a6236fb520251045c03eb8834bc8c24a4eec11d6c8fb56", 84_025_440),
    "92cfc3b6": (*_FINE, "a241863551f30d01c42bd7b97da40839922ead3acb0f1fcab25682f55b4eeb59", 84_025_440),
    "04573f0d": (*_FINE, "68854b0d7c2b3274723b5761f6fd9f5aec5f1bcd3f0de7c1669546fdb7871b7c", 84_025_440),
    "5c90dfd2": (*_SIX, "d2a1745f0744721f6b8ca5bf469b67c651ea5ed1b52998cab033b2158609d411", 54_885_744),
}

# signature: folder, SHA-256 and bytes of <signature>-<8 digits>.th
_V4, _V3 = "hybrid_transformer", "mdx_final"
_PICKLES: dict[str, tuple[str, str, int | None]] = {
    # htdemucs
    "955717e8": (_V4, "8726e21a993978c7ba086d3872e7608d7d5bfca646ca4aca459ffda844faa8b4", 84_141_911),
    # htdemucs_ft
    "f7e0c4bc": (_V4, "ba3fe64ae8ef66ac9a4857222ce48efbdc5eb3ad375cb79dd13debee5aaa4066", 84_141_271),
    "d12395a8": (_V4, "e57c48e6b0e38af4f7118d7bd08c49f0a0c0edf7d09143bdd902ea0d237303e6", 84_141_271),
    "92cfc3b6": (_V4, "ef3bcb9c8b40d14ae5d51b6db2587339cc12c6b77c0be151ce6d69002e087bf2", 84_141_271),
    "04573f0d": (_V4, "f3cf25b222c4eed7cd49dd8b2c9597d50c18bd154090f7b919cfa5f93cf22c49", 84_141_271),
    # htdemucs_6s
    "5c90dfd2": (_V4, "34c22ccb381c6f9fdbf324f04e1e2fe21aaaf293f5ded163a162697ff9a02ddd", 54_996_327),
    # hdemucs_mmi
    "75fc33f5": (_V4, "1941ce654b11df4132b9f4eae408556b4c83fad6fe26b4bc0dbcb36b975befb3", 167_407_275),
    # mdx
    "0d19c1c6": (_V3, "0f06f20ed6ddc8058fa72ccc4845f3a88916eff7d007b623924193de217bbcf4", 178_048_329),
    "7ecf8ec1": (_V3, "70f50cc947d08f32e6dd8e2b687d398fa5ef9e51d1bd7600e32205d1f44be6b9", 178_048_329),
    "c511e2ab": (_V3, "fe6987756a7087d339bf63b19bb481b12cea02d3bc0de7583df7597210209649", 167_334_095),
    "7d865c68": (_V3, "3d5dd56b5bc986f136dff98655ded22b2b033f465ccec7a28640a6b15fd71ed6", 167_918_783),
    # mdx_extra
    "e51eebcc": (_V3, "c1b80bdd6de58274abf359e66822a76f49ce2b9f086fc5dc917ac14598e6bebf", 167_399_275),
    "a1d90b5c": (_V3, "ae9d245283bf24b552913ee233a1101dcd0aeaed59b1c0a2da0e1f6eda15101b", 167_391_595),
    "5d2d6c55": (_V3, "db83574e05b2308f76e2764819da673f2d16d437b9e619f5fcb72f275fc0e24f", 167_391_595),
    "cfa93e08": (_V3, "61801ae1567d606c97a9c3469e943ae306d0a873eeb60d623ae7cfc7042b3f68", 167_399_275),
    # mdx_extra_q
    "83fc094f": (_V3, "4a16d450fd8c9277494e23865cadaa4a3e64141c45411d84243b8c95ea4b7cae", 50_756_993),
    "464b36d7": (_V3, "e5a9386ecbf6f30bb2bdc7ae162f471d87f3b5bffba1a8cb2cebe4403280967e", 38_893_153),
    "14fc6a69": (_V3, "a89dd0eeb547221dcfd6c0a47baa768ce0bce548eaf86b9a404d6b1088b5d22f", 38_491_885),
    "7fd6ef75": (_V3, "a905dd8548f7389f1a3686c24c09d7bee61b716e3372e778e2acec88333ecdf4", 39_436_529),
    # mdx_q
    "6b9c2ca1": (_V3, "3fd82607", 59_648_321),
    "b72baf4e": (_V3, "8778635e", 44_368_175),
    "42e558d4": (_V3, "196e0e1b", 58_227_087),
    "305bc58f": (_V3, "18378783", 46_847_123),
    # repro_mdx_a, repro_mdx_a_hybrid_only, repro_mdx_a_time_only
    "9a6b4851": (_V3, "03af0aa6", None),
    "1ef250f1": (_V3, "592467ce", None),
    "fa0cb7f9": (_V3, "100d8bf4", None),
    "902315c2": (_V3, "b39ce9c9", None),
}
