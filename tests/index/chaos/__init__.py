"""Processes that read an embedded index while another one rebuilds it and is killed, and the checks of both.

`stress` starts and kills them; `reader` and `rebuilder` are what runs in them; `contents` is what both know
of the right answers; `expected` is the state that the index must have after a kill.
"""
