"""Tests of the outbound client: against raw servers on loopback that misbehave, and byte by byte."""
