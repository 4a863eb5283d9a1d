"""Electrum on the regtest of another coin: run by the system's Python in place of `electrum`.

The genesis that it expects comes from GENESIS; everything else is Electrum as it was installed.
"""

import os
import runpy
import sys

from electrum import constants

PROGRAM = "/usr/bin/electrum"
constants.BitcoinRegtest.GENESIS = os.environ["GENESIS"]
sys.argv[0] = PROGRAM
runpy.run_path(PROGRAM, run_name="__main__")
