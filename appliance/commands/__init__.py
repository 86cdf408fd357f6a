"""What each `dynamo-box` command does, one module a command. Imported only when the command is called."""
