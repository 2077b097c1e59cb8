# What a container looks like to the program in it: sections of lines, "== name" before each.
# $1: mount destinations, $2: masked and read-only paths, $3: sysctl files, one per line each.
section() { echo "== $1"; }
list() { printf '%s\n' "$1" | while read -r it; do [ -n "$it" ] && "$2" "$it"; done; }

section user
id
umask
pwd

section environment
tr '\0' '\n' </proc/$$/environ

section status
# Without a child: dash blocks signals while it forks.
while read -r it; do
    case $it in Groups* | Cap* | NoNewPrivs* | Seccomp:* | SigBlk* | SigIgn*) echo "$it" ;; esac
done </proc/$$/status
echo "oom_score_adj $(cat /proc/$$/oom_score_adj)"
echo "personality $(cat /proc/$$/personality 2>/dev/null)"
[ $$ = 1 ] && echo "pid 1"
ulimit -n

section limits
cat /proc/$$/limits

section names
uname -nm
cat /proc/sys/kernel/domainname

section namespaces
for it in cgroup ipc mnt net pid time user uts; do
    echo "$it $(readlink /proc/$$/ns/$it)"
done
cat /proc/$$/timens_offsets

section cgroup
cat /proc/$$/cgroup

section mounts
cat /proc/$$/mountinfo

section destinations
destination() { stat -c '%n %F %a %u:%g %t:%T' "$1" 2>&1; }
list "$1" destination

section devices
find /dev -mindepth 1 ! -path '/dev/pts/[0-9]*' -exec stat -c '%N %F %a %u:%g %t:%T' {} +

section descriptors
for it in /proc/$$/fd/*; do echo "${it##*/}"; done
for it in 0 1 2; do test -t $it && echo "$it is a terminal"; done

section masked
masked() {
    if [ -d "$1" ]; then echo "$1: $(ls -A "$1" 2>/dev/null | wc -l) entries"
    elif [ -e "$1" ]; then echo "$1: $(head -c 1 "$1" 2>/dev/null | wc -c) bytes"
    else echo "$1: not there"
    fi
    # Opened for writing, nothing is written.
    if [ -f "$1" ]; then (: >>"$1") 2>/dev/null && echo "$1: can be written"; fi
}
list "$2" masked

section sysctl
sysctl() { echo "$1 $(cat "$1" 2>&1)"; }
list "$3" sysctl

section network
ls /sys/class/net 2>&1
cat /sys/class/net/lo/flags 2>&1

section root
stat -c '%n %F %a %u:%g' / /proc /sys /dev /run /tmp /etc
(: >/probe) 2>&1 && echo "the rootfs can be written"
section end
