#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: Debian's slurm-wlm and munge, as root. Run it again after a restart.
#   sudo tests/slurm/setup.sh && python -m pytest -m slurm
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "setup.sh: needs root, to install packages and start daemons"; exit 1; }
if ! command -v slurmctld slurmd munged >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

host=$(hostname -s)
cores=$(nproc)
memory=$(($(free -m | awk '/^Mem/ {print $2}') * 9 / 10))
state=/var/lib/slurm-test
mkdir -p "$state"/{ctld,d} /etc/slurm /run/munge
chown munge: /run/munge
cat > /etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
touch /etc/slurm/cgroup.conf

[ -f /etc/munge/munge.key ] || mungekey --create
chown -R munge: /etc/munge /var/log/munge /var/lib/munge
pgrep -x munged >/dev/null || runuser -u munge -- munged
pgrep -x slurmctld >/dev/null || slurmctld
pgrep -x slurmd >/dev/null || slurmd
for _ in $(seq 30); do
    if [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; then echo "SLURM is up: $host, $cores cores"; exit 0; fi
    scontrol update nodename="$host" state=resume 2>/dev/null || true
    sleep 1
done
sinfo || true
tail -n 5 "$state"/*.log
echo "setup.sh: SLURM did not come up in 30 s"
exit 1
