from __future__ import annotations

import subprocess
import sys


def test_what_every_engine_process_loads_does_not_import_numba() -> None:
    """vLLM looks through all loaded modules when it starts a CPU worker, and fails at one of numba's."""
    code = "import sys; from appliance.engine.retention.install import install; install()"
    code += "; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
