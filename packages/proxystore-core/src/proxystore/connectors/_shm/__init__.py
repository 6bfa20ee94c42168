"""Slabs: files of slots for small objects, mapped once by each process that uses them."""
