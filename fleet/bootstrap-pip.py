"""Stands in for the script that ansible-test would download to bootstrap pip in its virtual environments: the pip that this
Python carries comes first, and that one installs the version which is asked for.
"""

import subprocess
import sys

# Options of the real script that its pip does not know.
OWN = ("--no-setuptools", "--no-wheel")

subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install", *(word for word in sys.argv[1:] if word not in OWN)])
