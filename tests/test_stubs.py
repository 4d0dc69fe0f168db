"""The generated list of model classes is what the registry makes."""

from tools.stubs import PATH, stubs


def test_the_stubs_list_the_classes_that_the_registry_makes() -> None:
    assert PATH.read_text(encoding="utf-8") == stubs(), "run `make stubs`"
