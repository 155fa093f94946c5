"""Exact small games with closed forms, one file a result."""
