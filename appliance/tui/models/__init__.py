"""What screens and `top` show, worked out of frames: nothing here draws."""
