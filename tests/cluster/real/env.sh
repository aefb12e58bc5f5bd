# Paths and addresses of the cluster; sourced by the other scripts.
#
# Every address is in 198.51.100.0/24 (TEST-NET-2) and lives on a veth pair between this
# machine and the node's own network namespace, which has no other link:
#   198.51.100.0/26    the link: .1 is this machine (API server), .2 is the node
#   198.51.100.64/26   pods
#   198.51.100.128/25  services
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${CLUSTER_HOME:=${XDG_CACHE_HOME:-$HOME/.cache}/greenlight-cluster}"
export CLUSTER_HOME
CLUSTER=$CLUSTER_HOME/real                # everything this cluster keeps on disk
HOST_IP=198.51.100.1 NODE_IP=198.51.100.2
LINK_BITS=26 POD_CIDR=198.51.100.64/26 SERVICE_CIDR=198.51.100.128/25
DNS_IP=198.51.100.138                     # as in manifests/coredns.yaml; up to .143 no service gets one unasked
LOOPBACK=127.51.100.1                     # what only the control plane talks to, clear of other clusters
API=https://$HOST_IP:6443 ETCD=http://$LOOPBACK:2379 ETCD_PEER=http://$LOOPBACK:2380
NETNS=kubenode LINK=kubenode0             # the node's network namespace; this side of the link
NODE=node-1
DEBS=$CLUSTER/root                        # unpacked Debian packages: containerd, runc, CNI plugins, nft
export KUBECONFIG=$CLUSTER/pki/admin.conf
export PATH=$CLUSTER_HOME/bin:$DEBS/usr/sbin:$DEBS/usr/bin:$PATH
LIBS=$DEBS/usr/lib/x86_64-linux-gnu
kubectl() { kube kubectl "$@"; }
# start NAME COMMAND...: run in a session of its own, log to log/NAME.log, remember the pid.
start() {
  CLUSTER_PART=$1 setsid "${@:2}" >"$CLUSTER/log/$1.log" 2>&1 </dev/null &
  echo $! >"$CLUSTER/run/$1.pid"
  until alive "$1" || ! kill -0 $! 2>/dev/null; do sleep 0.02; done # until then it is a copy of this shell
}
# alive NAME: whether what start started still runs (and its pid is not another's by now).
alive() { grep -qszx "CLUSTER_PART=$1" "/proc/$(cat "$CLUSTER/run/$1.pid" 2>/dev/null)/environ"; }
# stop NAME...: end what start started, at once: nothing that it keeps is used again.
stop() {
  local name
  for name in "$@"; do
    ! alive "$name" || kill -9 "$(cat "$CLUSTER/run/$name.pid")"
    while alive "$name"; do sleep 0.1; done
    rm -f "$CLUSTER/run/$name.pid"
  done
}
# await SECONDS COMMAND...: retry until it succeeds.
await() {
  local seconds=$1 end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "cluster: after $seconds s still not: $*" >&2; return 1; }
    sleep 0.2
  done
}
# What takes seconds on two idle cores, and minutes on a loaded machine, gets ten times that.
PATIENCE=900
# ready WHAT PART COMMAND...: wait until COMMAND succeeds, as long as PART runs; a failure says what was waited for.
ready() {
  local what=$1 part=$2; shift 2
  running() { ! alive "$part" || "$@"; }
  await $PATIENCE running "$@" 2>/dev/null && alive "$part" && return
  alive "$part" && set -- "does not become ready" || set -- "has ended"
  echo "cluster: waited for $what, but $part $1; the end of $CLUSTER/log/$part.log:" >&2
  tail -n 10 "$CLUSTER/log/$part.log" >&2
  return 1
}
mkdir -p "$CLUSTER"/{bin,log,run,pki,images}
