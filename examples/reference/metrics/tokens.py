"""Words as the Penn Treebank tokenizer of caption benchmarks makes them, without Java."""

from __future__ import annotations

import re
from collections.abc import Iterator

ABBREVIATIONS = (
    r"adj|adm|adv|al|ala|alex|apr|ariz|assn|assoc|asst|atty|attys|aug|ave|bhd|bldg|blvd|brig|"
    r"bros|calif|capt|cf|cie|cmdr|co|col|colo|conn|cont'd|corp|cos|cpl|ct|dak|dec|dept|det|"
    r"dr|drs|elec|ens|esq|est|etc|ext|feb|fla|fri|ft|ga|gen|gov|govs|hon|inc|ind|insp|intl|"
    r"invt|jan|jos|jr|jul|jun|kan|kans|ky|lieut|lt|ltd|maj|mar|md|messrs|mfg|mich|minn|mlle|"
    r"mme|mo|mon|mont|mr|mrs|ms|msgr|mt|mtg|natl|neb|nev|nov|oct|okla|penn|pfc|ph|ph\.d|plc|"
    r"ppte|ppty|pres|prof|pte|ptes|pty|ptys|pvt|rd|rep|reps|rev|rt|sen|sens|sep|sept|seq|sfc|"
    r"sgt|spc|sq|sr|st|ste|supt|supts|sys|tel|tenn|thu|thurs|treas|tue|tues|univ|va|vs|vt|"
    r"wed|wis|wisc|wm|wyo"
)
"""Keep their full stop, in any case."""
CAPITALISED = r"Ark|Az|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"
"""Keep their full stop if they begin with a capital."""
BEFORE_NUMBERS = r"art|ca|fig|figs|no|nos|op|pp|prop"
"""Keep their full stop in front of a number."""
OPENERS = (
    r"A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|"
    r"Last|Many|More|Now|Once|One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|"
    r"These|They|This|We|What|When|While|Yet|You"
)
"""Begin a sentence: the full stop of a single letter before them ends the one before."""

ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": " "}
SIGNS = {
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("–—―", " -- "),
    "‘": "'",
    "…": " ... ",
    "€": " $ ",
    "£": " # ",
    "¢": " cents ",
    "½": " 1/2 ",
    "¼": " 1/4 ",
    "¾": " 3/4 ",
    "\N{NO-BREAK SPACE}": " ",
    "\N{ZERO WIDTH SPACE}": " ",
}
BEYOND = re.compile("[\U00010000-\U0010ffff]")
CONTRACTED = re.compile("(?<=^n)’(?=t$)|^’(?=(?:s|m|d|ll|re|ve)$)")
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
DROPPED = frozenset(
    [".", "?", "!", ",", ":", ";", "-", "--", "...", "'", "’", "''", "`", "``", '"']
)
"""Tokens that caption scorers never see; two marks in a row such as ``?!`` are not among them."""

LETTER, SIGN = r"[^\W\d_]", r"['’]"
WORD = rf"{LETTER}[^\W_]*"
DECIMAL = r"\d*(?:[.:,]\d+)+"
APOSTROPHE = (
    rf"(?:[dlno]|[A-HJ-XZ]){SIGN}{LETTER}{{2,}}"
    rf"|{LETTER}+[aeiouyAEIOUY]{SIGN}[aeiouA-Z]{LETTER}*"
    rf"|(?i:cap{SIGN}n|c{SIGN}mon|(?:n?)e{SIGN}er|ev{SIGN}ry|li{SIGN}l|nor{SIGN}easter|s{SIGN}mores)"
)
PART = (
    rf"(?:(?:{APOSTROPHE})|(?:[A-Za-z]\.)+[A-Za-z]\.(?!{LETTER})|{WORD}(?:[.!?]{WORD})*"
    rf"|{DECIMAL}|[^\W²³]+)"
)
KEPT = (
    rf"(?i:{ABBREVIATIONS})\.(?!{LETTER})"
    rf"|[A-Za-z]\.(?!{LETTER}|\ +(?:{OPENERS})\ )"
    rf"|{LETTER}+(?:{SIGN}{LETTER}+)?\.(?=[,;:])"
    rf"|(?:{CAPITALISED})\.(?!{LETTER})"
    rf"|(?i:{BEFORE_NUMBERS})\.(?=\ ?\d)"
)
TOKEN = re.compile(
    rf"""
    </?[A-Za-z][^<>]*>
  | (?:https?://|www\.)[^\s"<>|()]*[^\s"<>|()\[\].,;:!?'-]
  | [\w.+-]+@[\w-]+(?:\.[\w-]+)+
  | [@#][A-Za-z_]\w*
  | [<>]?[:;=][-o*']?[()DPdpO\\{{@|\[\]](?![A-Za-z])
  | (?i:can(?=not\b)|(?:gon|wan)(?=na\b)|got(?=ta\b)|(?:gim|lem)(?=me\b))
  | (?i:{SIGN}t(?=is\b|was\b)|{SIGN}(?:cause|em|till?)\b|{SIGN}n\b{SIGN}?|{SIGN}[2-9]0s\b)
  | (?i:{SIGN}(?:s|m|d|ll|re|ve)\b)
  | {LETTER}[^\W_]*?(?=[nN]{SIGN}[tT]\b) | [nN]{SIGN}[tT]\b
  | (?i:[dl]){SIGN}(?={LETTER}(?!{LETTER})) | (?i:[jy]){SIGN}(?={LETTER}) | (?i:ol){SIGN}
  | [A-Z]+&[A-Z]+ | (?:US|HK|NZ|NT|[ACS])\$ | [Cc](?:\+\+|\#) | -[LR][RSC]B- | \^_\^
  | \d+\ \d+/\d+(?![\w/])
  | (?:{KEPT})(?![-/]\w)
  | {PART}(?:-{PART})*(?:/{PART}(?:-{PART})*){{0,2}}
  | [-+]?(?:{DECIMAL}|\d+)
  | \.\.\. | --+ | [?!]+ | \*+ | << | >> | '' | \S
    """,
    re.VERBOSE,
)


def ptb_tokens(text: str) -> list[str]:
    """Split a sentence as Stanford's PTBTokenizer does for caption scores, and drop punctuation.

    Args:
        text: a sentence, as written.

    Returns:
        Its words in lower case: contractions are two words, hyphenated words are one, full stops
        stay in abbreviations.

    Example:
        >>> ptb_tokens("It isn't the black-and-white T.V., Dr. Who!")
        ['it', 'is', "n't", 'the', 'black-and-white', 't.v.', 'dr.', 'who']
    """
    return [token for token in lexed(text) if token not in DROPPED]


def lexed(text: str) -> Iterator[str]:
    """The tokens of a sentence, punctuation included."""
    for sign, plain in (ENTITIES | SIGNS).items():
        text = text.replace(sign, plain)
    for token in TOKEN.findall(BEYOND.sub(" ", text)):
        if token.startswith("--"):
            yield "--"
        elif token[0].isdigit():
            # One token of two words: scorers that split on any white space see two.
            yield token.lower().replace(" ", "\N{NO-BREAK SPACE}")
        elif token in DROPPED or token.startswith("-"):
            yield token.lower()
        else:
            yield bracketed(CONTRACTED.sub("'", token.lower()))


def bracketed(token: str) -> str:
    """A token with its brackets spelled out."""
    for bracket, name in BRACKETS.items():
        token = token.replace(bracket, name)
    return token
