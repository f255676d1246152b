from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clowdy.runtimes.api import DriverUnavailable
from clowdy.runtimes.docker.interpreter import compile_modules, find_interpreter
from clowdy.runtimes.runner import Python, find_python


@pytest.fixture(scope="module")
def python() -> Python:
    return find_python(None, for_any_user=False)


def test_the_standard_library_is_found(python: Python) -> None:
    found = find_interpreter(python)

    assert found.executable == Path(python.executable)
    assert any((folder / "os.py").is_file() for folder in found.library)
    assert not any("site-packages" in str(path) or "dist-packages" in str(path) for path in found.library)


def test_behind_a_virtual_environment_is_the_python_that_it_was_made_from(python: Python, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([python.executable, "-m", "venv", "--copies", "--without-pip", environment], check=True)
    copied = find_python(str(environment / "bin" / "python3"), for_any_user=False)

    assert copied.executable.startswith(str(tmp_path))
    assert find_interpreter(copied) == find_interpreter(python)


def test_a_python_that_does_not_run_is_named() -> None:
    with pytest.raises(DriverUnavailable, match="/bin/false does not run"):
        find_interpreter(Python("/bin/false", "3.11.0", "/usr"))


def test_compiled_modules_are_the_same_every_time(python: Python, tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("def known(name):\n    return name in {'a', 'b', 'c', 'd', 'e', 'f', 'g'}\n")
    (tmp_path / "broken.py").write_text("def (:\n")
    interpreter = find_interpreter(python)
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        found = compile_modules(interpreter, [source, tmp_path / "broken.py"], tmp_path / name)
        made.append({path: file.read_bytes() for path, file in found.items()})
        source.touch()

    assert made[0] == made[1]
    assert list(made[0]) == [tmp_path / "__pycache__" / f"module.{interpreter.cache_tag}.pyc"]


def test_python_takes_a_compiled_module_whatever_the_time_of_its_source(python: Python, tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("value = 'compiled'\n")
    (tmp_path / "made").mkdir()
    for path, file in compile_modules(find_interpreter(python), [source], tmp_path / "made").items():
        path.parent.mkdir()
        file.rename(path)
    source.write_text("value = 'read anew'\n")
    command = [python.executable, "-S", "-s", "-c", "import module; print(module.value)"]

    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout == b"compiled\n"
