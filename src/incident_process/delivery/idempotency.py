"""The idempotency key, by which a receiver recognises a repeated request (SPEC 5)."""

import hashlib


def idempotency_key(operation: str, account: str, digest: str, nonce: str = "") -> str:
    """Return the key of one content of one account: 40 hexadecimal digits.

    It depends only on its arguments, so it is the same over retries, restarts and hosts, and even when the state is
    lost. ``nonce`` makes another key for what must not look like a repetition: a forced re-send, and content that comes
    back after other content was delivered in between.
    """
    parts = f"{len(operation)}:{operation}{len(account)}:{account}{len(digest)}:{digest}{len(nonce)}:{nonce}"
    return hashlib.blake2b(parts.encode(), digest_size=20).hexdigest()
