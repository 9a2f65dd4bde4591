"""A run or a study as one HTML file that needs nothing but a browser: no network, no folder beside it, no server."""

from lab.report.page.writing import write_page

__all__ = ["write_page"]
