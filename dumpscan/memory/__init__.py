"""Physical becomes virtual: x86, x86 PAE, x64 and Itanium page tables, walked as arrays."""
