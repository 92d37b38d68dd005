"""A plain Python worker: publishes the steps of a task with redis-py, and prints their ids.

    pip install redis                     (or apt install python3-redis)
    export TASKWS_REDIS=redis://127.0.0.1:6379/0
    python3 worker.py USER_ID
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

connection = redis.Redis.from_url(
    os.environ.get('TASKWS_REDIS', 'redis://127.0.0.1:6379/0'), decode_responses=True,
    socket_timeout=5)  # a Redis that is frozen does not hang the worker
append = connection.register_script((Path(__file__).parents[1] / 'publish.lua').read_text())
retry = Retry(ExponentialBackoff(cap=2, base=0.1), 5)


def publish(user_id, event):
    """Stores and delivers an event; returns its id. By its key it is stored once, however often
    it is tried. The empty arguments are how many events are kept, and for how many milliseconds."""
    text = json.dumps(event, ensure_ascii=False).encode(errors='replace')  # see README
    keys, args = [f'task_status:{user_id}'], [text, '', '', uuid.uuid4().hex]
    return retry.call_with_retry(lambda: append(keys, args), lambda _error: None)


def main(user_id):
    task = {'task_id': f'import-{uuid.uuid4()}', 'name': 'Import customers'}
    for progress in 0, 25, 50, 75:
        print(publish(user_id, {**task, 'status': 'running', 'progress': progress}), flush=True)
        time.sleep(0.2)  # the work
    print(publish(user_id, {**task, 'status': 'completed', 'progress': 100}))


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit('usage: worker.py USER_ID')
    main(sys.argv[1])
