"""Hands in pictures: a detector's protocol, MediaPipe behind it, and a ladder of second tries."""
