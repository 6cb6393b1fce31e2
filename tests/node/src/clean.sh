# Removes what a cluster leaves that does not go with its namespaces: commands that were started into its network,
# cgroups, the folder. Begins when its standard input ends, that is, when the owner of the cluster is gone.
folder=$1
cgroup=$2
mark=$3
cat >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    for id in $(grep -lzxF -- "$mark=$folder" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
        kill -9 "$id" 2>/dev/null
    done
    # Version 1 has a hierarchy per controller, version 2 one for all.
    for top in /sys/fs/cgroup/"$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
        [ -d "$top" ] && find "$top" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    rm -rf -- "$folder" 2>/dev/null
    left=
    for path in "$folder" /sys/fs/cgroup/"$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
        [ -e "$path" ] && left="$left $path"
    done
    [ -z "$left" ] && exit 0
    sleep 0.2
done
echo "still there:$left" >&2
exit 1
