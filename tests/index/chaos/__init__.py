"""Processes that read an embedded index while another one rebuilds it and is killed, and who judges them.

`siege` starts and kills them; `reader` and `rebuilder` are what runs in them; `world` is what both know of
the right answers; `steps` kills at a chosen step on the file system; `ledger` says what must be there then.
"""
