"""meshd."""
