# Networks, one function each; called as `sh network.sh FUNCTION ARGUMENTS` inside of the namespace that is set up.
set -e

# ADDRESS: the first node. All nodes are on its bridge; nothing leads out of it.
first_node() {
    ip link set lo up
    ip link add node0 type bridge
    ip addr add "$1/24" dev node0
    ip link set node0 up
    # A bridge without a port has no carrier, and routes over it are dead: this pair is its first port.
    ip link add stub type veth peer name stub0
    ip link set stub0 master node0 up
    ip link set stub up
    # A default route that leads nowhere: kubelet and pods want to see one.
    ip route add default via 198.51.100.254 dev node0
    forwarding
}

# NAME PROCESS ADDRESS: another node, linked to the bridge of the node that PROCESS is in.
further_node() {
    ip link set lo up
    ip link add eth0 type veth peer name "$1" netns "$2"
    ip addr add "$3/24" dev eth0
    ip link set eth0 up
    ip route add default via 198.51.100.1
    forwarding
}

# NAME ADDRESS PODS: the other end of that link, and the way to the pods there.
link_node() {
    ip link set "$1" master node0 up
    # One with this number may have been given up before.
    ip route replace "$3" via "$2"
}

forwarding() {
    echo 1 >/proc/sys/net/ipv4/ip_forward
    if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then
        echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
    fi
}

# PROCESS UPLINK NODE INSIDE: a company. Its uplink leads to the node that PROCESS is in; its firewall lets out what
# is asked from within, and answers back in, and nothing else.
company() {
    ip link set lo up
    ip link add uplink type veth peer name company0 netns "$1"
    ip addr add "$2/24" dev uplink
    ip link set uplink up
    ip route add 198.51.100.0/24 via "$3"
    ip link add inside type bridge
    ip addr add "$4/24" dev inside
    ip link set inside up
    nft -f - <<'RULES'
table inet firewall {
    chain input {
        type filter hook input priority 0; policy accept;
        iifname "uplink" ct state established,related accept
        iifname "uplink" counter drop
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
    }
}
RULES
}

# ADDRESS: the node's end of that uplink.
link_company() {
    ip addr add "$1/24" dev company0
    ip link set company0 up
}

"$@"
