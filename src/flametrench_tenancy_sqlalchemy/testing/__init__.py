"""What an application's tests need: a migrated PostgreSQL, a Session, people in organizations.

The pytest fixtures come from `plugin`, which pytest loads by itself once the package is installed
(extra `testing`). The functions in `factories` also serve outside pytest, on any Session.
"""
