"""Named rules that keep what changes from ahead of what stays, so that the prefix cache can work."""
