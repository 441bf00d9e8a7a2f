#!/usr/bin/env bash
# The whole chain on this machine, with two nodes of its own: two workers learn two concepts each with the built-in
# model, one of them is killed and run again, and the report is compared with that of a run without Slurm. Needs
# root, and Debian's packages slurm-wlm and munge, which it installs.
set -euo pipefail
cd "$(dirname "$0")/../.."

seqlora=$(realpath "${CARGO_TARGET_DIR:-target}")/release/seqlora
work=$(mktemp -d)
mkdir -p "$work"/{spool/a,spool/b,state,slurm}
trap 'stop; rm -rf "$work"' EXIT

stop() {
  [ ! -e "$work/slurmctld.pid" ] || kill "$(cat "$work/slurmctld.pid")" 2>/dev/null || true
  for node in a b; do
    [ ! -e "$work/$node.pid" ] || kill "$(cat "$work/$node.pid")" 2>/dev/null || true
  done
}

if ! command -v slurmctld >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge >/dev/null
fi

# Two nodes on one host, as root, which starts and follows tasks without help of the system.
host=$(hostname -s)
cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=3600
JobRequeue=1
MpiDefault=none
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool/%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/%n.log
NodeName=a NodeHostname=$host Port=17001 CPUs=1
NodeName=b NodeHostname=$host Port=17002 CPUs=1
PartitionName=all Nodes=a,b Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
mkdir -p /run/munge && chown munge: /run/munge
pgrep munged >/dev/null || runuser -u munge -- munged
slurmctld
slurmd -N a
slurmd -N b

until sinfo -h -o %t | grep -qx idle; do sleep 1; done

# Four concepts in three images each.
number=0
for colour in red blue green yellow; do
  number=$((number + 1))
  "$seqlora" generate -q --model builtin --prompt "a $colour mug on a plain white background" --num 3 --steps 12 \
    --seed $number --out "$work/photos/mug-$number"
done
export SEQLORA=$seqlora
export LEARN="--steps 12 --outer 1 --save-every 2 --seed 3"
export EVALUATE="--metric identity --seeds 0 --steps 4"
bash deploy/slurm/run.sh "$work/photos" builtin "$work/run" 2
learn=$(squeue -h -n learn -o %A | head -1)

# One worker is killed in the middle, and run again.
until [ -e "$work"/run/banks/1/concepts/*/checkpoint/state.json ]; do sleep 0.2; done
scontrol requeue "${learn}_1"
echo "requeued ${learn}_1"

report=$(cat "$work/run/last-job")
until scontrol show job "$report" | grep -Eq 'JobState=(COMPLETED|FAILED|CANCELLED)'; do sleep 1; done
sacct -X 2>/dev/null || squeue -t all -o '%.12i %.10j %.10T %.10M %N'
scontrol show job "$report" | grep -q JobState=COMPLETED || { cat "$work"/run/logs/*; exit 1; }

# The same without Slurm.
for part in 1/2 2/2; do
  # shellcheck disable=SC2086
  "$seqlora" learn "$work/photos" --model builtin --bank "$work/alone" --shard $part $LEARN -q
done
diff -r -x .lock "$work/alone" "$work/run/bank"
# shellcheck disable=SC2086
"$seqlora" evaluate "$work/photos" --model builtin --bank "seqlora=$work/alone" --out "$work/evaluation" $EVALUATE -q
diff -r -x .lock -x .cache "$work/evaluation/images" "$work/run/evaluation/images"
diff "$work/evaluation/summary.json" "$work/run/evaluation/summary.json"
echo "the run on Slurm, with a worker killed and run again, gave the same bytes"
