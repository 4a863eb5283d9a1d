"""The API shapes: pure translators between a caller's bytes and calls.Call, an upstream's bytes and calls.Event."""
