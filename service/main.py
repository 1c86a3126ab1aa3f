"""The composition root: which features there are."""

from brigade import Brigade, load_settings
from service.features import links, notes
from service.settings import Settings

FEATURES = [notes, links]


def create_app(settings: Settings | None = None) -> Brigade:
    return Brigade(settings or load_settings(Settings), title="Brigade", features=FEATURES)
