"""How numbers, signs and abbreviations are said, language by language. All lower case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Language:
    """What `spoken` knows of a language.

    Attributes:
        decimal: the mark before decimals, "." or ","; the other one parts thousands.
        point, minus: how that mark and a minus are said.
        signs: what a sign is called, where it stands.
        money: a sign of money with the name of one of it and of many.
        ordinals: pattern of what follows the digits of "first"; its group `ending`, if any, is appended when said.
        decades: endings as in "90s", which are said joined to the number.
        years: whether 1999 is said as "nineteen ninety-nine".
        clock: what stands between hours and minutes.
        abbreviations: with their dots; those that are words without them are left out.
    """

    decimal: str = ","
    point: str = ""
    minus: str = ""
    signs: Mapping[str, str] = field(default_factory=dict[str, str])
    money: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    ordinals: str = ""
    decades: str = ""
    years: bool = False
    clock: str = ""
    abbreviations: Mapping[str, str] = field(default_factory=dict[str, str])


LANGUAGES: Mapping[str, Language] = {
    "en": Language(
        ".",
        "point",
        "minus",
        {"&": "and", "+": "plus", "%": "percent", "@": "at", "=": "equals", "°": "degrees", "#": "number"},
        {
            "$": ("one dollar", "dollars"),
            "£": ("one pound", "pounds"),
            "€": ("one euro", "euros"),
            "¥": ("one yen", "yen"),
        },
        ordinals="st|nd|rd|th",
        decades="'?s",
        years=True,
        # "No." stays what it mostly is, the answer.
        abbreviations={
            "mr.": "mister",
            "mr": "mister",
            "mrs.": "missus",
            "mrs": "missus",
            "dr.": "doctor",
            "dr": "doctor",
            "st.": "saint",
            "mt.": "mount",
            "jr.": "junior",
            "sr.": "senior",
            "prof.": "professor",
            "vs.": "versus",
            "vs": "versus",
            "etc.": "et cetera",
            "etc": "et cetera",
            "w/": "with",
        },
    ),
    "de": Language(
        ",",
        "komma",
        "minus",
        {"&": "und", "+": "plus", "%": "prozent", "@": "at", "=": "gleich", "°": "grad", "§": "paragraf"},
        {"$": ("ein dollar", "dollar"), "£": ("ein pfund", "pfund"), "€": ("ein euro", "euro")},
        ordinals="(?:s?te)(?P<ending>[nrsm]?)",
        decades="er",
        years=True,
        clock="uhr",
        abbreviations={
            "z.b.": "zum beispiel",
            "d.h.": "das heißt",
            "u.a.": "unter anderem",
            "usw.": "und so weiter",
            "bzw.": "beziehungsweise",
            "ca.": "circa",
            "evtl.": "eventuell",
            "nr.": "nummer",
            "str.": "straße",
            "dr.": "doktor",
            "prof.": "professor",
            "hr.": "herr",
            "fr.": "frau",
            "st.": "sankt",
            "etc.": "et cetera",
        },
    ),
    "fr": Language(
        ",",
        "virgule",
        "moins",
        {"&": "et", "+": "plus", "%": "pour cent", "@": "arobase", "=": "égale", "°": "degrés"},
        {"$": ("un dollar", "dollars"), "£": ("une livre", "livres"), "€": ("un euro", "euros")},
        ordinals="ers?|res?|i?[eè]mes?|es?",
        clock="heures",
        abbreviations={
            "m.": "monsieur",
            "mm.": "messieurs",
            "mme": "madame",
            "mme.": "madame",
            "mmes": "mesdames",
            "mlle": "mademoiselle",
            "mlle.": "mademoiselle",
            "dr": "docteur",
            "dr.": "docteur",
            "st": "saint",
            "st.": "saint",
            "ste": "sainte",
            "ste.": "sainte",
            "n°": "numéro",
            "etc.": "et cetera",
        },
    ),
    "es": Language(
        ",",
        "coma",
        "menos",
        {"&": "y", "+": "más", "%": "por ciento", "@": "arroba", "=": "igual", "°": "grados"},
        {"$": ("un dólar", "dólares"), "£": ("una libra", "libras"), "€": ("un euro", "euros")},
        ordinals=r"\.?(?:º|(?P<feminine>ª))",
        abbreviations={
            "sr.": "señor",
            "sra.": "señora",
            "srta.": "señorita",
            "dr.": "doctor",
            "dra.": "doctora",
            "ud.": "usted",
            "uds.": "ustedes",
            "vd.": "usted",
            "núm.": "número",
            "n.º": "número",
            "etc.": "etcétera",
        },
    ),
    "it": Language(
        ",",
        "virgola",
        "meno",
        {"&": "e", "+": "più", "%": "per cento", "@": "chiocciola", "=": "uguale", "°": "gradi"},
        {"$": ("un dollaro", "dollari"), "£": ("una sterlina", "sterline"), "€": ("un euro", "euro")},
        ordinals="º|(?P<feminine>ª)",
        abbreviations={
            "sig.": "signor",
            "sig.ra": "signora",
            "sig.na": "signorina",
            "dott.": "dottor",
            "dott.ssa": "dottoressa",
            "prof.": "professor",
            "s.": "san",
            "n.": "numero",
            "ecc.": "eccetera",
        },
    ),
    "pt": Language(
        ",",
        "vírgula",
        "menos",
        {"&": "e", "+": "mais", "%": "por cento", "@": "arroba", "=": "igual", "°": "graus"},
        {"$": ("um dólar", "dólares"), "£": ("uma libra", "libras"), "€": ("um euro", "euros")},
        ordinals=r"\.?(?:º|(?P<feminine>ª))",
        abbreviations={
            "sr.": "senhor",
            "sra.": "senhora",
            "srta.": "senhorita",
            "dr.": "doutor",
            "dra.": "doutora",
            "prof.": "professor",
            "n.º": "número",
            "etc.": "etcétera",
        },
    ),
    "nl": Language(
        ",",
        "komma",
        "min",
        {"&": "en", "+": "plus", "%": "procent", "@": "apenstaartje", "=": "is", "°": "graden"},
        {"$": ("een dollar", "dollar"), "£": ("een pond", "pond"), "€": ("een euro", "euro")},
        ordinals="[sd]?t?e",
        years=True,
        clock="uur",
        abbreviations={
            "dhr.": "de heer",
            "mevr.": "mevrouw",
            "mw.": "mevrouw",
            "dr.": "dokter",
            "nr.": "nummer",
            "bijv.": "bijvoorbeeld",
            "bv.": "bijvoorbeeld",
            "d.w.z.": "dat wil zeggen",
            "enz.": "enzovoort",
            "etc.": "et cetera",
        },
    ),
    "sv": Language(
        ",",
        "komma",
        "minus",
        {"&": "och", "+": "plus", "%": "procent", "@": "snabel-a", "=": "lika med", "°": "grader"},
        {"$": ("en dollar", "dollar"), "£": ("ett pund", "pund"), "€": ("en euro", "euro")},
        ordinals=":[ae]",
        abbreviations={"t.ex.": "till exempel", "bl.a.": "bland annat", "osv.": "och så vidare", "nr.": "nummer"},
    ),
    "da": Language(
        ",",
        "komma",
        "minus",
        {"&": "og", "+": "plus", "%": "procent", "@": "snabel-a", "=": "lig med", "°": "grader"},
        {"$": ("en dollar", "dollar"), "£": ("et pund", "pund"), "€": ("en euro", "euro")},
        years=True,
        abbreviations={"f.eks.": "for eksempel", "osv.": "og så videre", "nr.": "nummer", "hr.": "herr"},
    ),
    "no": Language(
        ",",
        "komma",
        "minus",
        {"&": "og", "+": "pluss", "%": "prosent", "@": "krøllalfa", "=": "er lik", "°": "grader"},
        {"$": ("en dollar", "dollar"), "£": ("et pund", "pund"), "€": ("en euro", "euro")},
        years=True,
        abbreviations={"f.eks.": "for eksempel", "osv.": "og så videre", "nr.": "nummer"},
    ),
    "fi": Language(
        ",",
        "pilkku",
        "miinus",
        {"&": "ja", "+": "plus", "%": "prosenttia", "=": "on", "°": "astetta"},
        {"$": ("yksi dollari", "dollaria"), "£": ("yksi punta", "puntaa"), "€": ("yksi euro", "euroa")},
        abbreviations={"esim.": "esimerkiksi", "jne.": "ja niin edelleen"},
    ),
    "pl": Language(
        ",",
        "przecinek",
        "minus",
        {"&": "i", "+": "plus", "%": "procent", "@": "małpa", "=": "równa się", "°": "stopni"},
        {"$": ("jeden dolar", "dolarów"), "£": ("jeden funt", "funtów"), "€": ("jedno euro", "euro")},
        abbreviations={"np.": "na przykład", "itd.": "i tak dalej", "itp.": "i tym podobne", "dr": "doktor"},
    ),
    "cs": Language(
        ",",
        "celá",
        "minus",
        {"&": "a", "+": "plus", "%": "procent", "@": "zavináč", "=": "rovná se", "°": "stupňů"},
        {"$": ("jeden dolar", "dolarů"), "£": ("jedna libra", "liber"), "€": ("jedno euro", "eur")},
        abbreviations={"např.": "například", "atd.": "a tak dále", "č.": "číslo"},
    ),
    "ru": Language(
        ",",
        "запятая",
        "минус",
        {"&": "и", "+": "плюс", "%": "процентов", "@": "собака", "=": "равно", "°": "градусов", "№": "номер"},
        {
            "$": ("один доллар", "долларов"),
            "£": ("один фунт", "фунтов"),
            "€": ("одно евро", "евро"),
            "₽": ("один рубль", "рублей"),
        },
        ordinals="-?[йяе]",
        abbreviations={"т.е.": "то есть", "т.д.": "так далее"},
    ),
    "uk": Language(
        ",",
        "кома",
        "мінус",
        {"&": "і", "+": "плюс", "%": "відсотків", "=": "дорівнює", "°": "градусів", "№": "номер"},
        {"$": ("один долар", "доларів"), "€": ("одне євро", "євро"), "₴": ("одна гривня", "гривень")},
    ),
    "tr": Language(
        ",",
        "virgül",
        "eksi",
        {"&": "ve", "+": "artı", "%": "yüzde", "=": "eşittir", "°": "derece"},
        {"$": ("bir dolar", "dolar"), "€": ("bir euro", "euro"), "₺": ("bir lira", "lira")},
    ),
    "ja": Language(
        ".",
        "点",
        "マイナス",
        {"&": "アンド", "+": "プラス", "%": "パーセント", "@": "アット", "=": "イコール", "°": "度"},
        {"$": ("一ドル", "ドル"), "€": ("一ユーロ", "ユーロ"), "¥": ("一円", "円")},
    ),
    "ko": Language(
        ".",
        "점",
        "마이너스",
        {"&": "앤드", "+": "플러스", "%": "퍼센트", "°": "도"},
        {"$": ("일 달러", "달러"), "€": ("일 유로", "유로"), "₩": ("일 원", "원")},
    ),
}
OTHER_LANGUAGE = Language(".")

# Those of num2words' languages that were tried with whole numbers up to a thousand million. It is never asked for less
# than zero or for decimals, which it often says wrongly, nor for Amharic, where it goes on forever.
_CODES = "ar az be ca cs da de en eo es fa fi fr he hu id is it ja ko lt lv nl no pl pt ro ru sk sl sr sv th tr uk vi"
NUMBERS = frozenset(_CODES.split())
