"""Passwords on a console: neither typed nor echoed ones stay in its transcript."""

from __future__ import annotations

from hil.console.transcript import REDACTED, Transcript


class Redactor:
    """Keeps the lines that are `secrets` out of `transcript`, typed and echoed ones."""

    def __init__(self, transcript: Transcript) -> None:
        self.secrets: frozenset[bytes] = frozenset()
        self._transcript = transcript
        self._echo: tuple[bytes, int] | None = None  # the secret typed last, and the offset where its echo may begin

    def redact(self, end: int | None = None) -> None:
        """Remove what has arrived of the echo of the secret typed last; the echo ends before the offset `end`."""
        self._transcript.refresh()
        if self._echo is not None:
            self._transcript.redact(*self._echo, self._transcript.size if end is None else end)
            self._echo = self._echo if end is None else None

    def typed(self, data: bytes) -> bytes:
        """Return `data`, which is about to be typed, as the transcript may record it."""
        secret = data.rstrip(b"\r\n")
        if self._echo is None and secret not in self.secrets:
            return data
        self._transcript.refresh()
        self.redact(self._transcript.size)
        if secret not in self.secrets:
            return data
        self._echo = secret, self._transcript.size
        return REDACTED + data[len(secret) :]

    def hidden(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self.secrets:
            text = text.replace(secret.decode(), REDACTED.decode())
        return text
