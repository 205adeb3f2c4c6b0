"""Bulk purchases: an organisation buys credits for many people at once, and they are handed out."""
