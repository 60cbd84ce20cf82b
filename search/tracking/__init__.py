"""MLflow, which mirrors a search: the store owns every result, so losing the tracker loses none.

uri.py      addresses, and `masked`: no password in anything that is printed
check.py    refuses a tracker that can't be used, before anything is trained
outbox.py   a thread that sends the latest news; nobody waits for it
sharing.py  what may leave the machine
mirror.py   the runs in MLflow; the only importer of mlflow
tracker.py  what the driver's thread calls
"""
