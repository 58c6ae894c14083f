"""Fuzzy semantic matching of person names (PS3.4 C.2.2.2.1.1): what two spellings of a name have in common.

A name is taken for its words, in whatever order and component group they stand. A word is folded: transliterated to
ASCII (Müller, Łukasz, Иванов, やまだ), in lower case. A word of the key matches a word of the name that begins with it,
or that sounds alike, by Soundex (Meyer, Maier) or Metaphone (Karl, Carl), and is spelled nearly so (Jaro-Winkler).
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from anyascii import anyascii
from jellyfish import jaro_winkler_similarity, metaphone, soundex

NEARLY = 0.75
"""From this Jaro-Winkler similarity on, words of one sound are the same (1: equal). John and Jane have 0.67."""

_SEPARATORS = re.compile(r"[\s^=,.*?\-]+")
_LETTERS = re.compile(r"[^a-z0-9]")
_SHORT = 2  # so few letters have no sound of their own: they match as a beginning only


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """The folded words of a name or key; the wildcards of a key only part them."""
    folded = (_LETTERS.sub("", anyascii(part).lower()) for part in _SEPARATORS.split(name))
    return tuple(dict.fromkeys(word for word in folded if word))


def is_like(name: str, key: str) -> bool:
    """Whether every word of the key is a word of the name, by any of its likenesses. An empty key matches all."""
    return all(any(_is_like(mine, asked) for mine in words(name)) for asked in words(key))


def index_of(name: str) -> str:
    """What a database keeps of a name: each word after a space, its Soundex after '#', its Metaphone after '~'."""
    return "".join(f" {word}{''.join(_sounds(word))}" for word in words(name)) + " "


def parts_of_index(key: str) -> Iterator[tuple[str, ...]]:
    """For each word of the key, texts of which an index that matches holds at least one. It may hold it by chance."""
    for word in words(key):
        yield (f" {word}", *_sounds(word))


def _is_like(mine: str, asked: str) -> bool:
    if mine.startswith(asked):
        return True
    if min(len(mine), len(asked)) <= _SHORT:
        return False
    same_sound = any(one == other for one, other in zip(_sounds(mine), _sounds(asked), strict=True))
    return same_sound and jaro_winkler_similarity(mine, asked) >= NEARLY


@lru_cache(maxsize=65536)
def _sounds(word: str) -> tuple[str, str]:
    return f"#{soundex(word)};", f"~{metaphone(word)};"
