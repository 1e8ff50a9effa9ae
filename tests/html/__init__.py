"""Tests of consent.html."""
