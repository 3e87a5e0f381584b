"""One module a group of commands, each with a function ``fill`` that gives a parser its own."""
