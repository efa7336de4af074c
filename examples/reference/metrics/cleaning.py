"""Answers as the SQA3D evaluation of LEO compares them: typos, digits and articles ironed out."""

from __future__ import annotations

import re

TYPOS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
}
NUMBERS = {
    "0": "zero",
    "none": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "10": "ten",
    "11": "eleven",
    "12": "twelve",
    "13": "thirteen",
    "14": "fourteen",
    "15": "fifteen",
    "16": "sixteen",
    "17": "seventeen",
    "18": "eighteen",
    "19": "nineteen",
    "20": "twenty",
    "23": "twenty-three",
}
"""21, 22, 24 and more are compared as digits, in every published number."""


def clean_answer(text: str) -> str:
    """Iron out what the evaluation of LEO and its followers does not count as a difference.

    Args:
        text: an answer, predicted or true.

    Returns:
        It in lower case (but ``TV``), without punctuation other than ``, ' - :``, without articles
        in front of words, with common typos mended and numbers up to 20 as words.

    Example:
        >>> [clean_answer(text) for text in ("The TV.", "2 chairs", "none", "21", "no1")]
        ['TV', 'two chairs', 'zero', '21', 'no']
    """
    text = re.sub(" {2,}", " ", text.lower().strip(" "))
    text = re.sub(r"[^a-zA-Z0-9,'\s\-:]+", "", text)
    text = replace_words(text, TYPOS)
    text = re.sub(r"\bo'[ ]+clock\b", "o'clock", text)
    text = replace_words(text, NUMBERS)
    text = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", text)
    for article in ("a", "an", "the"):
        text = re.sub(rf"\b{article}\b ([a-zA-Z]+)", r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def replace_words(text: str, words: dict[str, str]) -> str:
    """Replace whole words."""
    pattern = rf"\b(?:{'|'.join(map(re.escape, words))})\b"
    return re.sub(pattern, lambda match: words[match[0]], text)
