"""``completion``: a script by which a shell completes commands, options and their values.

It is made from the parser and asks nobody, so that completing takes no time.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Final

from ..answers import Answer, Verbatim
from ..options import takes
from ..parser import PROGRAM, Command, commands

_FUNCTION: Final = f"_{PROGRAM.replace('-', '_')}"


def fill(parser: ArgumentParser) -> None:
    """Give the command its arguments."""
    takes(parser, _completion).add_argument(
        "shell", metavar="SHELL", choices=[*_SCRIPTS], help=f"one of {', '.join(_SCRIPTS)}"
    )


def _completion(arguments: Namespace) -> Answer:
    script = "\n".join(_SCRIPTS[arguments.shell]([*commands()]))
    return Answer({"script": script}, [Verbatim(script)])


def _bash(places: Sequence[Command]) -> Iterator[str]:
    yield f"{_FUNCTION}() {{"
    yield "    local at= word previous=${COMP_WORDS[COMP_CWORD-1]} offered="
    yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield from _cases(places, lambda words: f"offered={quote(' '.join(words))}")
    yield '    COMPREPLY=($(compgen -W "$offered" -- "${COMP_WORDS[COMP_CWORD]}"))'
    yield "}"
    yield f"complete -F {_FUNCTION} {PROGRAM}"


def _zsh(places: Sequence[Command]) -> Iterator[str]:
    def offered(words: Mapping[str, str]) -> str:
        told = (quote(f"{word}:{what}" if what else word) for word, what in words.items())
        return f"offered=({' '.join(told)})"

    yield f"#compdef {PROGRAM}"
    yield f"{_FUNCTION}() {{"
    yield "    local at= word previous=${words[CURRENT-1]}"
    yield "    local -a offered"
    yield "    for word in ${words[2,CURRENT-1]}; do"
    yield from _cases(places, offered)
    yield f"    _describe {PROGRAM} offered"
    yield "}"
    yield f"compdef {_FUNCTION} {PROGRAM}"


def _cases(places: Sequence[Command], offered: Callable[[Mapping[str, str]], str]) -> Iterator[str]:
    """Yield how a shell finds the place that it is at, and what is offered there."""
    yield '        case "$at/$word" in'
    yield f'            {"|".join(_steps(places))}) at="${{at:+$at }}$word" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$at $previous" in'
    for choices, before in _values(places).items():
        yield f"        {'|'.join(map(quote, before))}) {offered(dict.fromkeys(choices, ''))} ;;"
    yield '        *) case "$at" in'
    for place in places:
        yield f"            {quote(' '.join(place.path))}) {offered(_offered(place))} ;;"
    yield "        esac ;;"
    yield "    esac"


def _fish(places: Sequence[Command]) -> Iterator[str]:
    yield f"function {_FUNCTION}"
    yield "    set -l at"
    yield "    for word in (commandline -opc)[2..-1]"
    yield '        switch "$at/$word"'
    yield f"            case {' '.join(_steps(places))}"
    yield '                set at (string trim "$at $word")'
    yield "        end"
    yield "    end"
    yield '    test "$at" = "$argv"'
    yield "end"
    yield f"complete -c {PROGRAM} -f"
    for place in places:
        there = f"complete -c {PROGRAM} -n {quote(' '.join((_FUNCTION, *place.path)))}"
        for word, what in place.below.items():
            yield f"{there} -a {word} -d {quote(what)}"
        for argument in place.arguments:
            values = f" -a {quote(' '.join(argument.choices))}" if argument.choices else ""
            if not argument.is_option:
                yield from [f"{there}{values}"] if values else []
                continue
            flags = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in argument.names
            )
            value = f" -x{values}" if argument.value is not None else ""
            yield f"{there} {flags}{value} -d {quote(argument.what)}"


def _values(places: Iterable[Command]) -> dict[tuple[str, ...], list[str]]:
    """Return the closed sets of values -> the places and options that take one of them."""
    takers = defaultdict[tuple[str, ...], list[str]](list)
    for place in places:
        for argument in place.arguments:
            if argument.value is not None:
                takers[tuple(argument.choices)] += [
                    " ".join((*place.path, name)) for name in argument.names
                ]
    return takers


def _steps(places: Iterable[Command]) -> list[str]:
    """Return each place as the place above it and the word that leads on."""
    return [
        quote(f"{' '.join(place.path[:-1])}/{place.path[-1]}") for place in places if place.path
    ]


def _offered(place: Command) -> dict[str, str]:
    """Return the words that may come next at a place, and what they mean."""
    words = dict(place.below)
    for argument in place.arguments:
        for word in argument.names if argument.is_option else argument.choices:
            words[word] = argument.what
    return words


_SCRIPTS: Final[Mapping[str, Callable[[Sequence[Command]], Iterator[str]]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
