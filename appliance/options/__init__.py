"""What each command takes. Nothing heavy is imported here."""
