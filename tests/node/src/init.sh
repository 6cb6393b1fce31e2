# Process 1 of a node: makes its file system its own, then lives until its standard input ends (or for ever).
# Everything below is seen by the node alone: the mount namespace is private, and goes with its last process.
set -e
folder=$1
life=$2

# The kubelet passes volumes on to containers, which need a shared root to be mounted "from host to container".
mount --make-rshared /

# What kubelet, containerd, CNI plugins and iptables write outside of the folder they are given:
# /run/containerd, /run/netns, /run/xtables.lock, /var/lib/kubelet/device-plugins, /var/lib/cni, /var/log/containers.
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/netns /run/over/upper /run/over/work /run/sysctl
mount -t overlay -o lowerdir=/var,upperdir=/run/over/upper,workdir=/run/over/work var /var

# The kubelet sets these for the whole machine. Here it finds what it wants, in files of its own.
for pair in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    name=${pair%=*}
    file=/run/sysctl/$(basename "$name")
    [ -e "/proc/sys/$name" ] || continue
    echo "${pair#*=}" >"$file"
    mount --bind "$file" "/proc/sys/$name"
done

# Images are kept as layers of an overlay; not every file system can hold them (another overlay cannot).
mkdir -p "$folder/probe/lower" "$folder/probe/upper" "$folder/probe/work" "$folder/probe/over"
mount -t overlay -o "lowerdir=$folder/probe/lower,upperdir=$folder/probe/upper,workdir=$folder/probe/work" \
    probe "$folder/probe/over"
umount "$folder/probe/over"
rm -rf "$folder/probe"

echo ready
# Not the last command: a shell would become it, and nobody would wait for processes whose parents are gone.
case $life in
owner) cat >/dev/null ;;
*) while sleep 86400; do :; done ;;
esac
exit 0
