#!/usr/bin/env bash
# A Slurm cluster on this one machine, for tests: a controller and a few nodes, each with a host name, processes and a /var/tmp
# of its own. Needs root, Linux name spaces and Debian's slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge.
#
#   cluster.sh start FOLDER [NODES] [MAX_ARRAY]   print nothing, and return when all nodes are idle
#   cluster.sh stop FOLDER
#   cluster.sh lose FOLDER NODE                   the node loses power
#   cluster.sh return FOLDER NODE                 and has it again
#
# Everything lies in FOLDER; SLURM_CONF=FOLDER/slurm.conf makes sbatch and the others talk to it. Nothing of /etc is read.
set -euo pipefail

verb=${1:?start, stop, lose or return}
root=$(realpath -m "${2:?a folder}")
export SLURM_CONF=$root/slurm.conf

# Ends the process whose number a file holds, and waits for its end.
end() {
    local file=$1 signal=$2 pid
    pid=$(cat "$file" 2>/dev/null) || return 0
    rm -f "$file"
    kill "-$signal" "$pid" 2>/dev/null || return 0
    for _ in $(seq 40); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
}

# One node: slurmd as a child of a shell that is process 1 of the node, so that a node goes with all its jobs.
power() {
    local node=$1 home=$root/$1
    mkdir -p "$home/spool" "$home/tmp"
    setsid unshare --fork --kill-child --pid --mount-proc --mount --uts -- bash -c '
        hostname "$1"
        mount --bind "$2/tmp" /var/tmp
        trap "kill -TERM %1" TERM
        slurmd -D -N "$1" -f "$3" &
        wait; wait' node "$node" "$home" "$SLURM_CONF" >"$home/console" 2>&1 </dev/null &
    echo $! >"$home/power"
}

free_ports() { # as many numbers in a row as asked for, from a place that depends on the folder
    python3 - "$1" "$root" <<'PYTHON'
import socket, sys, zlib
count, at = int(sys.argv[1]), 20000 + zlib.crc32(sys.argv[2].encode()) % 20000
def free(port):
    with socket.socket() as s:
        try: s.bind(("127.0.0.1", port))
        except OSError: return False
    return True
while not all(free(at + i) for i in range(count)): at += count
print(at)
PYTHON
}

start() {
    local nodes=${1:-2} max_array=${2:-1001} port me
    me=$(hostname)
    port=$(free_ports $((nodes + 2)))
    mkdir -p "$root/state" "$root/munge"
    chmod 755 "$root" "$root/munge"
    (umask 077 && head -c 256 /dev/urandom >"$root/munge/key")
    munged --force --key-file="$root/munge/key" --socket="$root/munge/socket" --pid-file="$root/munge/pid" \
        --seed-file="$root/munge/seed" --log-file="$root/munge/log"
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$me(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$root/munge/socket
CredType=cred/munge
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/%n/spool
SlurmctldPidFile=$root/controller
SlurmdPidFile=$root/%n/slurmd
SlurmctldLogFile=$root/slurmctld.log
SlurmdLogFile=$root/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,defer
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=6
SlurmctldTimeout=6
ReturnToService=2
KillWait=8
MinJobAge=300
MaxArraySize=$max_array
MaxJobCount=5000
GresTypes=gpu
SlurmdParameters=config_overrides
CONF
    : >"$root/gres.conf"
    local i
    for i in $(seq "$nodes"); do
        mkdir -p "$root/n$i"
        echo "NodeName=n$i NodeHostname=$me NodeAddr=127.0.0.1 Port=$((port + 1 + i)) CPUs=1 RealMemory=2000 Gres=gpu:1" >>"$SLURM_CONF"
        # Slurm asks for a device file and opens none.
        [ -c "$root/n$i/gpu" ] || mknod "$root/n$i/gpu" c 1 3
        echo "NodeName=n$i Name=gpu File=$root/n$i/gpu" >>"$root/gres.conf"
    done
    cat >>"$SLURM_CONF" <<CONF
PartitionName=main Nodes=n[1-$nodes] Default=YES DefaultTime=30 MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=n[1-$nodes] DefaultTime=30 MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF
CONF
    slurmctld -c -f "$SLURM_CONF"
    for i in $(seq "$nodes"); do power "n$i"; done
    for _ in $(seq 200); do
        [ "$(sinfo --noheader --states=idle --format=%D 2>/dev/null | head -1)" = "$nodes" ] && return 0
        sleep 0.1
    done
    sinfo --list-reasons >&2 || true
    tail -n 5 "$root"/slurmctld.log "$root"/n*/slurmd.log "$root"/n*/console >&2 || true
    return 1
}

stop() {
    local node
    for node in "$root"/n*/; do end "$node/power" KILL; done
    end "$root/controller" KILL
    end "$root/munge/pid" TERM
}

case $verb in
    start) shift 2; start "$@" ;;
    stop) stop ;;
    lose) end "$root/${3:?a node}/power" KILL ;;
    return) power "${3:?a node}" ;;
    *) echo "$verb: start, stop, lose or return" >&2; exit 2 ;;
esac
