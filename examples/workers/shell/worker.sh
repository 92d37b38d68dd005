#!/bin/sh
# A worker in shell: publishes the steps of a task with redis-cli, and prints their ids.
#
#     apt install redis-tools
#     export TASKWS_REDIS=redis://127.0.0.1:6379/0      redis-cli takes no unix:// here
#     sh worker.sh USER_ID
#
# Every user of the machine can read a program's arguments, and a password in that URL is one of
# redis-cli's: where there are others, leave it out and export REDISCLI_AUTH with it instead.
set -e
user=${1:?USER_ID}
# A password without a user is the default user's, which redis-cli wants to be told.
url=$(echo "${TASKWS_REDIS:-redis://127.0.0.1:6379/0}" | sed 's,^\(rediss*\)://:,\1://default:,')
script=$(dirname "$0")/../publish.lua
task=backup-$(date +%s)-$$

# publish KEY JSON: stores and delivers an event, once for each key. The empty arguments are how
# many events are kept, and for how many milliseconds.
publish() {
    redis-cli --no-auth-warning -e -u "$url" \
        --eval "$script" "task_status:$user" , "$2" '' '' "$task:$1"
}

# report STATUS PROGRESS
report() {
    publish "$2" "{\"task_id\":\"$task\",\"name\":\"Back up\",\"status\":\"$1\",\"progress\":$2}"
}

for progress in 0 25 50 75; do
    report running $progress
    sleep 0.2 # the work
done
report completed 100
