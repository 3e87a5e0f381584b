"""What one server holds: measured on a server, then worked out for an application of any size."""
