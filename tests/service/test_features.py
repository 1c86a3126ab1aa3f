from pathlib import Path

from service import features
from service.main import FEATURES


def test_every_folder_of_a_feature_is_one_of_the_application() -> None:
    folders = {path.parent.name for path in Path(features.__path__[0]).glob("*/__init__.py")}
    assert folders == {feature.__name__.rpartition(".")[2] for feature in FEATURES}
