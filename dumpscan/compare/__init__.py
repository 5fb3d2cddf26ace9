"""Several images of one machine: are they comparable, what grew, when is the pool full."""
