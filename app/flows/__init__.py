"""What happens, in order: one call a line, no HTTP."""
