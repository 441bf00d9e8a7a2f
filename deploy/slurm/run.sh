#!/usr/bin/env bash
# Submits a whole evaluation of concepts learnt in parallel: an array of workers that learn, a merge of their
# banks, an array that draws and scores images, and a report. Tasks that fail are submitted again as they are:
#
#     bash deploy/slurm/run.sh DATA MODEL WORK WORKERS
#
# DATA and MODEL are what `seqlora learn` takes, WORK is a folder that all nodes share. More options:
# LEARN="--steps 500" and EVALUATE="--profile cc101" of the two commands, SBATCH="--partition gpu --gres gpu:1" of
# the arrays, SEQLORA=/path/to/seqlora.
set -euo pipefail

if [ $# -ne 4 ]; then
  sed -n '2,10s/^# \{0,1\}//p' "$0"
  exit 2
fi
export DATA=$1 MODEL=$2 WORK=$3 WORKERS=$4
export SEQLORA=${SEQLORA:-seqlora} LEARN=${LEARN:-} EVALUATE=${EVALUATE:-}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$WORK/logs"

# Prints the number of a job that begins once another one has succeeded.
submit() { # SCRIPT AFTER SBATCH-OPTIONS...
  local after=()
  [ -z "$2" ] || after=(--dependency "afterok:$2")
  sbatch --parsable --export ALL --output "$WORK/logs/%x-%A-%a.log" "${after[@]}" "${@:3}" "$here/$1"
}

read -ra extra <<<"${SBATCH:-}"
learn=$(submit learn.sbatch "" --array "1-$WORKERS" "${extra[@]}")
merge=$(submit merge.sbatch "$learn")
evaluate=$(submit evaluate.sbatch "$merge" --array "1-$WORKERS" "${extra[@]}")
report=$(submit report.sbatch "$evaluate" "${extra[@]}")
echo "learn $learn, merge $merge, evaluate $evaluate, report $report; see squeue, and $WORK/logs"
echo "$report" >"$WORK/last-job"
