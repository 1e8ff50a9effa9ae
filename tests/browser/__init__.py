"""The demo site in a real Chromium, with the whole third-party internet played by a stand-in on loopback."""
