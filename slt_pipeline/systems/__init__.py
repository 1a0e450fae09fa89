"""Trained things, ready to use: each is opened once, checks what it is opened with, and knows its vocabularies."""
