"""The gateway is installed without the worker's libraries: it must never load them."""

import json
import subprocess
import sys

PROBE = """
import json, pkgutil, sys
import services.gateway
for module in pkgutil.walk_packages(services.gateway.__path__, "services.gateway."):
    __import__(module.name)
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(loaded)))
"""


def test_no_module_of_the_gateway_loads_torch_monai_or_highdicom() -> None:
    answer = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    assert {"services", "fastapi"} <= loaded
    assert not loaded & {"torch", "monai", "highdicom"}
