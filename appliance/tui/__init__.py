"""The terminal side of a box: it knows HTTP and view types, and nothing behind them."""
