"""What axe-core finds wrong with a page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE = {"serious", "critical"}


def grave_findings(page: Page, *rules: str) -> list[str]:
    """Serious and critical findings, one line for each kind, with where it was found; by all rules, or by some."""
    page.evaluate(
        """() => Promise.allSettled(document.getAnimations()
            .filter((running) => Number.isFinite(running.effect.getComputedTiming().endTime))
            .map((running) => running.finished))"""
    )
    only = {"runOnly": list(rules)} if rules else {}
    answer = Axe().run(page, options={"resultTypes": ["violations"], **only}).response
    assert answer["passes"], "axe has looked at nothing"
    return [
        f"{found['id']}: {[node['target'] for node in found['nodes']]}"
        for found in answer["violations"]
        if found["impact"] in GRAVE
    ]
