"""What a process gives back: pages of files, which come back when they are touched."""

import subprocess
import sys

from kvbench.server.footprint import file_mappings, give_back_file_pages


def test_mappings_are_those_of_this_process() -> None:
    found = file_mappings()
    assert len(found) > 20
    assert sum(one.resident_bytes for one in found) > 10 << 20
    assert any(not one.is_clean for one in found)
    assert all(one.size > 0 for one in found)


def test_a_process_goes_on_after_it() -> None:
    code = (
        "import json, ssl, numpy as np\n"
        "from kvbench.server.footprint import file_mappings, give_back_file_pages\n"
        "def resident():\n"
        "    return sum(one.resident_bytes for one in file_mappings() if one.is_clean)\n"
        "before = resident()\n"
        "given = give_back_file_pages()\n"
        "after = resident()\n"
        "assert np.linalg.inv(np.eye(3)).sum() == 3\n"
        "print(json.dumps([before, given, after]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, given, after = (int(one) for one in done.stdout.strip("[]\n").split(", "))
    assert given > 5 << 20
    assert after < before - given // 2


def test_here() -> None:
    assert give_back_file_pages() > 0
