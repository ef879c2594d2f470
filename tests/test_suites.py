"""An own suite that cannot be read is told in one line that names the file and the key."""

import pytest

from parallax_lib.core.errors import UserError
from parallax_lib.tasks import suites

ROW = "twice: {family: map, public: ['8'], hidden: [['9']]}\n"


@pytest.fixture
def own(tmp_path):
    """A suite folder with one kernel in two APIs."""
    for api in ("serial", "omp"):
        folder = tmp_path / "src" / f"twice-{api}"
        folder.mkdir(parents=True)
        (folder / suites.FILE[api]).write_text("int main() {}\n")
    (tmp_path / "kernels.yaml").write_text(ROW)
    return tmp_path


def test_a_suite_of_one_s_own_is_read(own):
    (kernel,) = suites.read_folder(own, "own")
    assert (kernel.name, kernel.family, kernel.public_args, kernel.hidden_args) == ("twice", "map", ("8",), (("9",),))


def test_an_index_that_cannot_be_used_names_file_and_key(own):
    for text, words in (
        (ROW.replace("family: map, ", ""), "kernel 'twice': key 'family' is missing"),
        (ROW.replace("public: ['8'], ", ""), "kernel 'twice': key 'public' is missing"),
        (ROW.replace(", hidden: [['9']]", ""), "kernel 'twice': key 'hidden' is missing"),
        (ROW.replace("[['9']]", "['9']"), "kernel 'twice': hidden: expected a list of lists"),
        (ROW.replace("[['9']]", "[]"), "kernel 'twice': hidden: expected a list of lists"),
        (ROW.replace("['8']", "8"), "kernel 'twice': public: expected a list"),
        (ROW.replace("map", "[map]"), "kernel 'twice': family: expected a name"),
        ("twice: 3\n", "kernel 'twice': expected the keys family, public, hidden, got 3"),
        ("twice:\n", "kernel 'twice': expected the keys"),
        ("- twice\n", "expected 'key: value' lines"),
        ("", "names no kernel"),
        ("twice: {family: [\n", "not valid YAML"),
        (ROW + ROW, "duplicate key 'twice'"),
        ("twice: {family: r\xe9duction}\n", "not a text in UTF-8"),
    ):
        (own / "kernels.yaml").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError) as e:
            suites.read_folder(own, "own")
        assert "kernels.yaml" in str(e.value) and words in str(e.value) and "\n" not in str(e.value)


def test_a_source_that_is_no_text_in_utf_8_is_named(own):
    file = own / "src" / "twice-omp" / suites.FILE["omp"]
    file.write_bytes("int main() {} // d\xe9j\xe0 vu\n".encode("latin-1"))
    with pytest.raises(UserError) as e:
        suites.read_folder(own, "own")
    assert f"{file}: not a text in UTF-8" in str(e.value) and "at byte 18" in str(e.value)
