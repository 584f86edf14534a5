"""Tracking, audit trail, ledger, outbox and lease: one contract, two backends (SPEC 6)."""
