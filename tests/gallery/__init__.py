"""A gallery of pages, each one technique of embedding a tracker, or of looking like one; shown in Chromium.

``python -m tests.gallery`` shows it to people; the tests assert what it must show.
"""
