"""One capability each, with no HTTP and no SQL."""
