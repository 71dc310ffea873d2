"""What normalising takes away and spam is known by: capitals, links, digits, length; as words of their own."""

from agents._text import NUMBER, URL, normalise

_CAPITALS, _LINKS, _NUMBERS, _LENGTH, _MARKS = (chr(0xE100 + 0x10 * kind) for kind in range(5))


def with_signals(text: str) -> str:
    """The normalised text and five private-use words: how much of it shouts, how many links and numbers, how long.

    >>> with_signals("WIN http://a.b").startswith("win")
    True
    """
    plain = normalise(text)
    letters = sum(map(str.isalpha, text))
    capitals = sum(map(str.isupper, text))
    shares = (
        (_CAPITALS, 8 * capitals // max(letters, 1)),
        (_LINKS, plain.count(URL)),
        (_NUMBERS, plain.count(NUMBER)),
        (_LENGTH, len(plain).bit_length()),
        (_MARKS, plain.count("!")),
    )
    return " ".join([plain, *(chr(ord(kind) + min(count, 15)) for kind, count in shares)])
