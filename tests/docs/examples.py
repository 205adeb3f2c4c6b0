"""The programs in the documents, as they stand there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def program(document: str, section: str, language: str) -> str:
    """All blocks of a language in a section, one after the other."""
    text = (ROOT / document).read_text()
    found = re.search(
        rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"{document} has no section {section!r}"
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL)
    assert blocks, f"{document} has no {language} in {section!r}"
    return "\n".join(blocks)
