"""What an operation is to its transaction: a savepoint of it, or all of it."""
