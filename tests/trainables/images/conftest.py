"""The data sets on disk that the tests of `data` have, for the tests of images too."""

from tests.trainables.data.conftest import change, folders, isic, listed, mini, spec

__all__ = ["change", "folders", "isic", "listed", "mini", "spec"]
