"""Physical becomes virtual: x86, x86 PAE and x64 page tables, walked as arrays."""
