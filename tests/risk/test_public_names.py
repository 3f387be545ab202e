import subprocess
import sys

import pytest

import risk


def test_every_public_name_exists():
    for name in risk.__all__:
        assert getattr(risk, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'value_at_riks'"):
        _ = risk.value_at_riks


def test_importing_the_room_imports_no_scientific_library():
    code = "import sys, risk; print(sorted({'numpy', 'scipy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
