"""Doors for web frameworks: thin, and imported only by who has the framework."""
