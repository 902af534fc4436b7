"""Numbers of the lines of a .env file (standard input) that its readers would read differently: docker-compose's versions,
the deploy container's shell and the instance's. Not the lines, as their values are secret."""

import re
import sys

NAME = r"(export\s+)?[A-Za-z_][A-Za-z_0-9]*"
# With a backslash in double quotes each reader does something else.
QUOTED = r"""'[^']*'|"[^"\\]*\""""
# A number sign after a space begins a comment for some.
BARE = r"""[^\s'"#]\S*(\s+[^\s#]\S*)*"""
CLEAR = re.compile(rf"\s*({NAME}=({QUOTED}|{BARE})?\s*)?", re.ASCII)
COMMENT = re.compile(r"\s*#")


def is_clear(line):
    return COMMENT.match(line) or (CLEAR.fullmatch(line) and "${" not in line)


text = sys.stdin.buffer.read().decode(errors="replace")
print(" ".join(str(number) for number, line in enumerate(text.split("\n"), 1) if not is_clear(line)))
