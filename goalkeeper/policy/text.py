"""The text of a policy: which words stand on which line, and where each rule begins.

It knows the tokens of Cedar and no more: what they mean is for Cedar's own parser.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"?|[A-Za-z_]\w*|\d+|\s+|.', re.S)


@dataclass(frozen=True)
class Token:
    """A word, a text in quotes, or a sign."""

    text: str
    line: int
    column: int


@dataclass(frozen=True)
class Statement:
    """One rule as it is written, comments aside."""

    tokens: tuple[Token, ...]
    text: str

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.tokens[0].line

    def find(self, *words: str) -> Token:
        """The first token that is one of these, bare or in quotes; else where the rule begins."""
        wanted = {*words, *(f'"{w}"' for w in words)}
        return next((t for t in self.tokens if t.text in wanted), self.tokens[0])


def statements(text: str) -> Iterator[Statement]:
    """The rules of a file in order; the last may lack its semicolon."""
    tokens: list[Token] = []
    begin = 0
    for token, start, end in _tokens(text):
        if not tokens:
            begin = start
        tokens.append(token)
        if token.text == ";":
            yield Statement(tuple(tokens), text[begin:end])
            tokens = []
    if tokens:
        yield Statement(tuple(tokens), text[begin:])


def _tokens(text: str) -> Iterator[tuple[Token, int, int]]:
    line, begin = 1, 0
    for match in _TOKEN.finditer(text):
        found = match[0]
        if not found.isspace() and not found.startswith("//"):
            yield Token(found, line, match.start() - begin + 1), match.start(), match.end()
        if "\n" in found:
            line += found.count("\n")
            begin = match.start() + found.rindex("\n") + 1
