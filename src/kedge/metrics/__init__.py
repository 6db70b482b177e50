"""What was measured: distributions, and the series made of them."""
