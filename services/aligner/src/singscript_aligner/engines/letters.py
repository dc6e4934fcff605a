"""How an English word that no dictionary has is probably pronounced.

A small table of spelling rules in the manner of Elovitz et al., "Letter-to-sound rules for automatic translation of
English text to phonetics" (1976): the longest spelling that fits is taken, from left to right. The result is rough;
it has to be near enough for forced alignment, which only needs to know which sounds follow each other.
"""

from __future__ import annotations

# Spelling → ARPABET phones. "^" is the start of the word, "$" its end.
_RULES: dict[str, str] = {
    "^kn": "N", "^gn": "N", "^wr": "R", "^ps": "S", "^x": "Z", "^wh": "W", "^who": "HH UW", "^rh": "R", "^mc": "M AH K",
    "^y": "Y", "^a$": "AH", "^i$": "AY", "^the$": "DH AH", "^re": "R IY", "^un": "AH N",
    "a": "AE", "ai": "EY", "ay": "EY", "au": "AO", "aw": "AO", "ar": "AA R", "are$": "EH R", "air": "EH R",
    "ah": "AA", "a$": "AH", "age$": "IH JH", "al$": "AH L", "all": "AO L", "alk": "AO K", "able$": "AH B AH L",
    "ace": "EY S", "ade": "EY D", "ake": "EY K", "ale": "EY L", "ame": "EY M", "ane": "EY N", "ape": "EY P",
    "ase": "EY S", "ate": "EY T", "ave": "EY V", "aze": "EY Z", "ation": "EY SH AH N",
    "b": "B", "bb": "B", "mb$": "M",
    "c": "K", "cc": "K", "ce": "S EH", "ce$": "S", "ci": "S IH", "cy": "S IY", "ch": "CH", "ck": "K", "cian": "SH AH N",
    "cious": "SH AH S", "sch": "S K", "tch": "CH",
    "d": "D", "dd": "D", "dge": "JH", "ded$": "D IH D", "ted$": "T IH D",
    "e": "EH", "e$": "", "ea": "IY", "ead": "EH D", "ear": "IH R", "ee": "IY", "eer": "IH R", "ei": "EY", "eigh": "EY",
    "er": "ER", "eu": "Y UW", "ew": "UW", "ey": "EY", "ey$": "IY", "ed$": "D", "el$": "AH L", "en$": "AH N", "es$": "Z",
    "ese": "IY Z", "ete": "IY T", "ence$": "AH N S", "ent$": "AH N T", "eau": "OW", "ess$": "AH S",
    "f": "F", "ff": "F", "ful$": "F AH L",
    "g": "G", "gg": "G", "ge": "JH EH", "ge$": "JH", "gi": "JH IH", "gy": "JH IY", "gh": "G", "ght": "T", "gue$": "G",
    "h": "HH",
    "i": "IH", "ie": "IY", "ie$": "IY", "ies$": "IY Z", "ied$": "IY D", "igh": "AY", "ir": "ER", "ire": "AY ER",
    "i$": "IY", "ign": "AY N", "ild": "AY L D", "ind": "AY N D", "ing$": "IH NG", "in'$": "IH N",
    "ice": "AY S", "ide": "AY D", "ife": "AY F", "ike": "AY K", "ile": "AY L", "ime": "AY M", "ine": "AY N",
    "ipe": "AY P", "ise": "AY Z", "ite": "AY T", "ive": "IH V", "ize": "AY Z", "io": "IY OW", "ia": "IY AH",
    "j": "JH", "k": "K", "kk": "K", "kh": "K",
    "l": "L", "ll": "L", "le$": "AH L",
    "m": "M", "mm": "M", "n": "N", "nn": "N", "ng": "NG", "nk": "NG K",
    "o": "AA", "oa": "OW", "oe": "OW", "oi": "OY", "oo": "UW", "ook": "UH K", "or": "AO R", "ore": "AO R",
    "ou": "AW", "ough": "AH F", "ould": "UH D", "ought": "AO T", "our": "AW ER", "ous$": "AH S", "ow": "OW",
    "own": "AW N", "oy": "OY", "o$": "OW", "old": "OW L D", "oh": "OW", "on$": "AH N",
    "obe": "OW B", "ode": "OW D", "oke": "OW K", "ole": "OW L", "ome": "OW M", "one": "OW N", "ope": "OW P",
    "ose": "OW Z", "ote": "OW T", "ove": "AH V",
    "p": "P", "pp": "P", "ph": "F", "q": "K", "qu": "K W", "que$": "K",
    "r": "R", "rr": "R",
    "s": "S", "ss": "S", "sh": "SH", "sion": "ZH AH N", "ssion": "SH AH N", "sure": "ZH ER", "sc": "S K", "sce": "S EH",
    "sci": "S AY", "'s$": "Z",
    "t": "T", "tt": "T", "th": "TH", "tion": "SH AH N", "ture": "CH ER", "tial": "SH AH L", "'t$": "T",
    "u": "AH", "u$": "UW", "ur": "ER", "ure": "Y ER", "ui": "UW", "ue": "UW", "uy": "AY", "udge": "AH JH",
    "ube": "UW B", "ude": "UW D", "uke": "UW K", "ule": "UW L", "ume": "UW M", "une": "UW N", "use": "Y UW Z",
    "ute": "UW T",
    "v": "V", "vv": "V", "w": "W", "x": "K S", "y": "IH", "y$": "IY", "ye$": "AY", "yr": "IH R", "z": "Z", "zz": "Z",
    "zh": "ZH", "'ll$": "AH L", "'re$": "ER", "'ve$": "V", "'d$": "D", "'m$": "M",
}  # fmt: skip
_LONGEST = max(map(len, _RULES))


def phones(word: str) -> str:
    """ARPABET phones, separated by spaces, for a lower-case word of the letters a to z and apostrophes.

    Never empty: a word that no rule sounds, such as "'", becomes a neutral vowel.
    """
    marked, at, said = f"^{word}$", 0, list[str]()
    while at < len(marked):
        for length in range(min(_LONGEST, len(marked) - at), 0, -1):
            if (sound := _RULES.get(marked[at : at + length])) is not None:
                said += sound.split()
                at += length
                break
        else:
            at += 1  # "^", "$" and lone apostrophes make no sound of their own
    return " ".join(said) or "AH"
