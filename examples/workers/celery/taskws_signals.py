"""Celery's signals become status events. Import this module from an application, as app.py does:
each task called with a keyword argument user_id is then followed from its queue to its end."""

import json
import logging
import os
import uuid
from pathlib import Path

import redis
from celery import signals
from celery.states import IGNORED, REJECTED
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

log = logging.getLogger(__name__)
connection = redis.Redis.from_url(
    os.environ.get('TASKWS_REDIS', 'redis://127.0.0.1:6379/0'), socket_timeout=1)
append = connection.register_script((Path(__file__).parents[1] / 'publish.lua').read_text())
retry = Retry(ExponentialBackoff(cap=1, base=0.1), 1)  # whoever enqueues a task waits for this
LONGEST = 1000  # characters of a message; an event may have 64 KiB in all


def publish(task_id, name, kwargs, status, message=None, **fields):
    """Stores and delivers an event, by its key once, however often it is tried. For want of a
    status no task fails."""
    user_id = (kwargs or {}).get('user_id')
    if user_id is None:
        return
    title = name.rpartition('.')[2].replace('_', ' ').capitalize()
    event = {'task_id': task_id, 'name': title, 'status': status, **fields}
    if message is not None:
        event['message'] = str(message)[:LONGEST]
    try:
        text = json.dumps(event, default=str, allow_nan=False, ensure_ascii=False)
        text = text.encode(errors='replace')  # half a character, as in some file names, is no JSON
        keys, args = [f'task_status:{user_id}'], [text, '', '', uuid.uuid4().hex]
        retry.call_with_retry(lambda: append(keys, args), lambda _error: None)
    except (redis.RedisError, TypeError, ValueError):
        log.warning('no status published of task %s', task_id, exc_info=True)


def report(task, **fields):
    """Called by a bound task: report(self, progress=40, message='Writing rows')."""
    publish(task.request.id, task.name, task.request.kwargs, 'running', **fields)


@signals.before_task_publish.connect
def pending(sender, headers, body, **_):
    if not headers['retries']:  # a retry has said so itself
        publish(headers['id'], sender, body[1], 'pending')


@signals.task_prerun.connect
def running(task_id, task, kwargs, **_):
    publish(task_id, task.name, kwargs, 'running', progress=0)


@signals.task_retry.connect
def pending_again(sender, request, reason, **_):
    publish(request.id, sender.name, request.kwargs, 'pending',
            message=f'Trying again: {reason.exc or reason}')


@signals.task_success.connect
def completed(sender, **_):
    publish(sender.request.id, sender.name, sender.request.kwargs, 'completed', progress=100)


@signals.task_failure.connect
def failed(sender, task_id, exception, kwargs, **_):
    publish(task_id, sender.name, kwargs, 'failed', message=exception)


@signals.task_revoked.connect
def cancelled(sender, request, **_):
    publish(request.id, sender.name, request.kwargs, 'cancelled')


@signals.task_postrun.connect
def given_up(sender, task_id, kwargs, retval, state, **_):
    """The end of a task that raised Ignore or Reject, which have no signals of their own."""
    if state == IGNORED and str(retval) != 'Replaced by new task':  # that one goes on under its id
        publish(task_id, sender.name, kwargs, 'cancelled', message=retval)
    if state == REJECTED:
        again = retval.requeue and sender.acks_late  # else it has left the queue already
        publish(task_id, sender.name, kwargs, 'pending' if again else 'failed',
                message=retval.reason)
