#!/usr/bin/env bash
# A one-node Slurm on loopback, for tests/workflow/test_slurm.py. As root on Debian: installs Slurm's packages,
# writes /etc/slurm, starts the daemons, runs a command (default: the tests), then stops the daemons
# and removes what it wrote; only the packages stay. The node has a GPU in name only, /dev/null.
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
    echo "tests/slurm.sh: $1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || refuse "needs root, to start slurmd; run it as root in a container or a VM"
etc=/etc/slurm
written=("$etc"/{slurm.conf,gres.conf,cgroup.conf,slurm.key})
for file in "${written[@]}"; do
    [ ! -e "$file" ] || refuse "$file is there: this machine has a Slurm of its own; use another"
done
if ! command -v slurmctld slurmd srun > /dev/null; then
    command -v apt-get > /dev/null || refuse "no Slurm and no apt-get; install slurmctld and slurmd"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends slurmctld slurmd slurm-client
fi
for daemon in slurmctld slurmd; do
    ! pgrep -x "$daemon" > /dev/null || refuse "$daemon is running already; stop it first"
done

work=$(mktemp -d)

stop() {
    status=$?
    trap - EXIT INT TERM
    squeue --noheader --format %i 2> /dev/null | xargs --no-run-if-empty scancel || true
    for _ in $(seq 40); do # a job has KillWait seconds to end, see below
        [ -n "$(squeue --noheader 2> /dev/null)" ] || break
        sleep 0.5
    done
    for daemon in slurmd slurmctld; do
        pid=$(cat "$work/$daemon.pid" 2> /dev/null) || continue
        kill "$pid" 2> /dev/null || true
        for _ in $(seq 40); do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.5
        done
    done
    [ "$status" = 0 ] || tail -n 20 "$work"/*.log >&2 || true
    rm -rf "$work" "${written[@]}" /run/slurm{,ctld}/sack.socket
    rmdir --ignore-fail-on-non-empty "$etc" /run/slurm{,ctld} 2> /dev/null || true
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

host=$(hostname -s)
mkdir -p "$work/state" "$work/spool" "$etc" /run/slurm /run/slurmctld
cat > "$etc/slurm.conf" << END
ClusterName=taclean-test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/slurm
CredType=cred/slurm
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmdParameters=config_overrides # the node has what is said below, whatever the machine has
ProctrackType=proctrack/pgid
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=3600
KillWait=15
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 Gres=gpu:1
PartitionName=cpu Nodes=$host Default=YES State=UP
PartitionName=gpu Nodes=$host State=UP MaxTime=24:00:00
END
echo "NodeName=$host Name=gpu File=/dev/null" > "$etc/gres.conf" # without File= the node is invalid
echo "CgroupPlugin=disabled" > "$etc/cgroup.conf"
(umask 077 && head -c 1024 /dev/urandom > "$etc/slurm.key")
slurmctld
slurmd
for _ in $(seq 60); do
    [ "$(sinfo --noheader --partition gpu --format %T 2> /dev/null)" != idle ] || break
    sleep 0.5
done
srun --partition gpu --gpus 1 --mem 100 true

if [ $# = 0 ]; then
    set -- python -m pytest -m slurm tests/workflow/test_slurm.py
fi
export TACLEAN_TEST_SLURM=1 # tests that another process runs at this time leave this Slurm alone
"$@"
