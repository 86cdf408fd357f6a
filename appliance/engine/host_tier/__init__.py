"""The host tier inside vLLM: its OffloadingConnector over the box's one arena."""
