"""Data that environments draw from: one file each."""
