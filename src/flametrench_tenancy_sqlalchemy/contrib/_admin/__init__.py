"""Tenancy in an admin of the operator's: what it shows and what it does, whatever the framework.

Sheets are for reading. Whatever changes something is an action, which is one operation of the
repository: no admin writes rows of ours by itself.
"""
