"""Upstreams: a table of OpenAI-compatible hosts, a file for each other protocol; they hand up normalised events."""
