"""A Celery application whose tasks are followed live: one reports its progress, one fails, and one
is tried again.

    pip install 'celery[redis]'           (or apt install python3-celery python3-redis)
    export TASKWS_REDIS=redis://127.0.0.1:6379/0     the queue too, unless $CELERY_BROKER_URL says
    celery -A app worker                  in this directory
    python3 app.py USER_ID                beside it: puts the three into the queue
"""

import os
import sys
import time

from celery import Celery

from taskws_signals import report

REDIS = os.environ.get('TASKWS_REDIS', 'redis://127.0.0.1:6379/0')
app = Celery('app', broker=os.environ.get('CELERY_BROKER_URL', REDIS))


@app.task(bind=True)
def import_customers(self, *, user_id):
    for progress in 25, 50, 75:
        report(self, progress=progress, message='Writing rows')
        time.sleep(0.2)  # the work


@app.task
def render_report(*, user_id):
    raise ValueError('the quarter has no figures')


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=True)
def sync_inventory(self, *, user_id):
    if self.request.retries == 0:
        raise ConnectionError('the warehouse does not answer')


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('usage: app.py USER_ID')
    for task in import_customers, render_report, sync_inventory:
        print(task.delay(user_id=sys.argv[1]).id)
