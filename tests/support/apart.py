"""Broken twins of what keeps actors together whose coordinator tells them different things."""

import hashlib

from parties import agree, stocking


def unbound(monkeypatch):
    """Seeds are derived without the terms of whoever derives them."""

    def derived(secret, kind, *bound_to):
        return hashlib.sha256(f"{kind} {bound_to[3:]}".encode() + secret).digest()[:16]

    monkeypatch.setattr(agree, "_derived", derived)


def uncompared(monkeypatch):
    """A party takes no notice of the terms that the dealer and its peers show."""
    monkeypatch.setattr(stocking, "difference", lambda mine, theirs: None)
