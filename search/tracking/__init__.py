"""MLflow mirrors a search. The store owns every result, so losing the tracker loses none.

uri.py      addresses, and `masked`, which hides passwords in anything printed
check.py    refuses an unusable tracker before anything is trained
outbox.py   a thread that sends the latest update without blocking the search
sharing.py  the files and texts that may leave the machine
mirror.py   the runs in MLflow; the only importer of mlflow
tracker.py  the interface for the driver's thread
"""
