"""How figures, texts and pages look: ``drawing`` on matplotlib, ``text`` and ``page`` without."""
