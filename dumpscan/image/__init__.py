"""A file becomes physical memory: recognise the container, map its pages, say what is missing."""
