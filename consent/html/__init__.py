"""Reading HTML as browsers read it, and rewriting it without touching what is not meant."""

from consent.html.buffers import RewriterLimitExceeded
from consent.html.judge import Judge
from consent.html.rewriter import Rewriter
from consent.html.withholding import Withholding
from consent.html.xml import XMLRewriter

__all__ = ["Judge", "Rewriter", "RewriterLimitExceeded", "Withholding", "XMLRewriter"]
