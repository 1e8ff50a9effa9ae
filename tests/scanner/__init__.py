"""The scanner: pure parts on recorded data, and a real Chromium on loopback."""
