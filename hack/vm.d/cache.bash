# What hack/vm boots, made once and kept: QEMU, a kernel, an image of the host's
# small tools, an initial file system. Sourced by hack/vm, whose variables and
# functions it uses: here, say, die.
# shellcheck shell=bash disable=SC2034,SC2154

# Sets qemu, kernel, version, modules, tools, initrd.
fill_cache() { # suite
    "$here/install" busybox-static dpkg e2fsprogs binutils zstd xz-utils procps util-linux \
        debian-archive-keyring qemu-system-x86 seabios >&2
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/hull-vm
    mkdir -p "$cache"
    cache=$(realpath "$cache")
    busybox=$(command -v busybox) || die 123 "needs busybox (package busybox-static)"
    ! readelf -lW "$busybox" | grep -q INTERP || die 123 "needs a static busybox (package busybox-static)"
    exec 8>"$cache/lock"
    flock 8
    find_qemu
    find_kernel "$1"
    make_tools
    make_initrd
    exec 8>&-
}

# ------------------------------------------------------------------- downloads
# The Debian archive that this host's apt uses, if it has ever been asked.
debian_archive() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian Debian //p' | head -n 1
}

# An apt of its own per suite: the host's lists and sources stay as they are.
set_apt() { # suite -> apt
    local dir=$cache/apt/$1 mirror
    apt=(-q -o "Dir::Etc::sourcelist=$dir/list.sources" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State=$dir/state" -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache"
        -o Dir::State::status=/var/lib/dpkg/status -o Acquire::Languages=none -o Acquire::Retries=3
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o APT::Sandbox::User=root -o APT::Default-Release=)
    [[ -z ${updated[$1]:-} ]] || return 0
    mkdir -p "$dir"/{state,lists/partial,cache/archives/partial}
    mirror=$(debian_archive)
    if [[ -z $mirror && $(id -u) == 0 ]]; then
        apt-get -q update >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }
        mirror=$(debian_archive)
    fi
    [[ -n $mirror ]] || { say "apt knows no Debian archive (apt-get update?)"; return 1; }
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: amd64\nSigned-By: %s\n' \
        "$mirror" "$1" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$dir/list.sources"
    apt-get "${apt[@]}" update >"$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }
    updated[$1]=yes
}
declare -A updated=()

download() { # suite folder package...: unpacked into the folder
    local suite=$1 to=$2 dir package
    shift 2
    set_apt "$suite" || return 1
    dir=$(mktemp -d "$cache/download.XXXXXX")
    if ! (cd "$dir" && apt-get "${apt[@]}" download "$@" >log 2>&1); then
        cat "$dir/log" >&2
        rm -rf "$dir"
        return 1
    fi
    for package in "$dir"/*.deb; do dpkg -x "$package" "$to"; done
    rm -rf "$dir"
}

# ------------------------------------------------------------------------ QEMU
# QEMU 10 runs a guest's fork and exec two to three times as fast under TCG as
# Debian 12's 7.2, whose libraries are all that it needs.
find_qemu() {
    local own=0 backports=bookworm-backports
    if command -v qemu-system-x86_64 >/dev/null; then
        own=$(qemu-system-x86_64 --version | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p')
        qemu=(qemu-system-x86_64)
    fi
    if ((own >= 10)) || ! grep -qx VERSION_CODENAME=bookworm /etc/os-release; then
        ((own)) || die 123 "needs QEMU (package qemu-system-x86)"
        return 0
    fi
    if [[ ! -e $cache/qemu/complete ]]; then
        rm -rf "$cache/qemu"
        if download $backports "$cache/qemu" {qemu-system-x86,qemu-system-common,qemu-system-data,seabios}/$backports &&
            ! ldd "$cache/qemu/usr/bin/qemu-system-x86_64" | grep 'not found' >&2; then
            touch "$cache/qemu/complete"
        else
            ((own)) || die 123 "needs QEMU (package qemu-system-x86)"
            say "no newer QEMU could be had; this one is $own"
            return 0
        fi
    fi
    qemu=("$cache/qemu/usr/bin/qemu-system-x86_64" -L "$cache/qemu/usr/share/qemu" -L "$cache/qemu/usr/share/seabios")
}

# ---------------------------------------------------------------------- kernel
find_kernel() { # suite
    local dir=$cache/kernel-$1
    if [[ ! -e $dir/complete ]]; then
        rm -rf "$dir"
        mkdir -p "$dir"
        unpack_kernel "$1" "$dir" || die 123 "no kernel of $1 can be had"
        touch "$dir/complete"
    fi
    version=$(<"$dir/version")
    modules=$dir/modules/$version
    kernel=$dir/vmlinux
    [[ -e $kernel ]] || kernel=$dir/vmlinuz
}

unpack_kernel() { # suite folder
    local suite=$1 dir=$2 package image
    set_apt "$suite" || return 1
    package=$(apt-cache "${apt[@]}" depends linux-image-amd64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [[ -n $package ]] || return 1
    download "$suite" "$dir/package" "$package" || return 1
    # From 7.x on Debian keeps the image and the modules in packages of their own.
    compgen -G "$dir/package/boot/vmlinuz-*" >/dev/null ||
        download "$suite" "$dir/package" "${package/linux-image/linux-binary}" "${package/linux-image/linux-modules}" ||
        return 1
    image=$(find "$dir/package" -name 'vmlinuz*' -type f | head -n 1)
    [[ -n $image ]] || return 1
    mv "$image" "$dir/vmlinuz"
    mv "$(find "$dir/package" -type d -path '*lib/modules' | head -n 1)" "$dir/modules"
    rm -rf "$dir/package"
    (cd "$dir/modules" && echo *) >"$dir/version"
    mkdir -p "$dir/lib"
    ln -s ../modules "$dir/lib/modules" # where depmod looks
    "$busybox" depmod -b "$dir" "$(<"$dir/version")" >/dev/null 2>&1 || :
    unpack_vmlinux "$dir/vmlinuz" "$dir/vmlinux"
}

# The ELF image inside boots by PVH, which spares the guest its unpacking. The
# offsets are those of boot.rst, "The Real-Mode Kernel Header".
unpack_vmlinux() { # vmlinuz vmlinux
    local sectors offset length
    sectors=$(od -An -tu1 -j 0x1f1 -N 1 "$1")
    offset=$(od -An -tu4 -j 0x248 -N 4 "$1")
    length=$(od -An -tu4 -j 0x24c -N 4 "$1")
    # The last four bytes are the unpacked length.
    dd if="$1" of="$2.packed" iflag=skip_bytes,count_bytes bs=1M status=none \
        skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4))
    case $(od -An -tx1 -N 4 "$2.packed" | tr -d ' ') in
    28b52ffd) zstd -dcq <"$2.packed" >"$2" || : ;;
    fd377a58) xz -dcq --single-stream <"$2.packed" >"$2" || : ;;
    esac
    rm -f "$2.packed"
    # Some other packing: QEMU boots the vmlinuz too, only later.
    [[ -s $2 && $(head -c 4 "$2" | tr -d '\177') == ELF ]] || rm -f "$2"
}

# ----------------------------------------------------------------------- tools
# The host's small tools and their libraries as an ext4 image, which lies above
# the 9p view of the host: running them then costs no 9p round trips.
make_tools() {
    local packages=(bash dash coreutils util-linux mount libc6 libc-bin findutils grep sed mawk gawk procps
        iproute2 systemd systemd-sysv dbus dbus-bin dbus-daemon dbus-user-session dbus-system-bus-common
        dbus-session-bus-common libpam-systemd libpam-modules libpam-modules-bin libpam-runtime
        libnss-systemd login passwd uidmap tar gzip xz-utils jq strace runc crun busybox-static hostname
        psmisc libseccomp2 apparmor ncurses-base)
    local have key dir size
    have=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' "${packages[@]}" 2>/dev/null |
        sed -n 's/^installed //p' || :)
    key=$(sha256sum <<<"$have $(sha256sum <"$here/vm.d/cache.bash")" | head -c 16)
    tools=$cache/tools-$key.img
    [[ ! -e $tools ]] || return 0
    find "$cache" -maxdepth 1 -name 'tools-*' -mmin +1440 -exec rm -rf {} +
    dir=$(mktemp -d "$cache/tools-XXXXXX")
    mkdir "$dir/tree"
    # shellcheck disable=SC2046 # package names are words
    list_tools "$dir" $(cut -d' ' -f1 <<<"$have") >"$dir/files"
    tar -C / --no-recursion --ignore-failed-read -cf - -T "$dir/files" 2>/dev/null | tar -C "$dir/tree" -xpf - || :
    # tar made the folders between; they take the host's modes.
    find "$dir/tree" -mindepth 1 -type d -printf '/%P\0' |
        xargs -0 stat -c '%a %n' | while read -r mode folder; do chmod "$mode" "$dir/tree$folder"; done
    size=$(($(du -sm "$dir/tree" | cut -f1) * 5 / 4 + 16))
    local make=(mke2fs -q -t ext4 -O '^has_journal,^metadata_csum,^resize_inode' -m 0 -E root_owner=0:0
        -d "$dir/tree" "$dir/image" "${size}M")
    ((EUID == 0)) || make=(unshare -r "${make[@]}")
    PATH=$PATH:/usr/sbin:/sbin "${make[@]}" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; die 125 "mke2fs failed"; }
    mv "$dir/image" "$tools"
    rm -rf "$dir"
}

# The packages' files under /usr, with every library that they need and every
# file that a symbolic link among them names.
list_tools() { # folder package...
    local dir=$1 file
    shift
    dpkg-query -L "$@" | grep -Ev '^/(usr/share/(doc|man|locale|info|lintian|bug|zsh|bash-completion|polkit-1)|etc|var|boot)(/|$)' |
        sort -u | while read -r file; do
        # A merged /usr: the folder's own path, the last name as it is.
        if [[ -L $file || -f $file ]]; then echo "$(realpath "${file%/*}/")/${file##*/}"; fi
    done >"$dir/all"
    compgen -G '/usr/lib/x86_64-linux-gnu/lib*nss_*.so*' >>"$dir/all" || :
    compgen -G '/usr/lib/x86_64-linux-gnu/libgcc_s.so*' >>"$dir/all" || :
    PATH=$PATH:/sbin ldconfig -p | sed -n 's/^\t\([^ ]*\) (libc6,x86-64.*=> \(.*\)$/\1 \2/p' >"$dir/libraries"
    cp "$dir/all" "$dir/new"
    while [[ -s $dir/new ]]; do
        xargs -a "$dir/new" -d '\n' readelf -d 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' | sort -u |
            awk 'NR == FNR { if (!($1 in path)) path[$1] = $2; next } $1 in path { print path[$1] }' \
                "$dir/libraries" - | while read -r file; do echo "$(realpath "${file%/*}")/${file##*/}"; done |
            sort -u >"$dir/needed" || : # readelf's complaints about scripts
        grep -vxF -f "$dir/all" "$dir/needed" >"$dir/new" || :
        cat "$dir/new" >>"$dir/all"
    done
    while read -r file; do
        echo "$file"
        if [[ -L $file ]]; then realpath -eq "$file" || :; fi
    done <"$dir/all" | grep '^/usr/' | sort -u
}

# ---------------------------------------------------------------------- initrd
make_initrd() {
    local key dir
    key=$(cat "$here"/vm.d/* "$busybox" <(echo "$version") | sha256sum | head -c 16)
    initrd=$cache/initrd-$version-$key.img
    [[ ! -e $initrd ]] || return 0
    find "$cache" -maxdepth 1 -name "initrd-$version-*" -mmin +1440 -exec rm -rf {} +
    dir=$(mktemp -d "$cache/initrd-XXXXXX")
    mkdir "$dir/tree" "$dir/tree/bin" "$dir/tree/modules"
    cp "$busybox" "$dir/tree/bin/busybox"
    install -m 755 "$here/vm.d/init" "$here/vm.d/runner" "$dir/tree"
    : >"$dir/tree/modules/order"
    local module
    for module in virtio_pci virtio_blk virtio_console 9pnet_virtio 9p overlay crc32c_generic ext4; do
        add_module "$module" "$dir/tree/modules"
    done
    (cd "$dir/tree" && find . | "$busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$dir/image"
    mv "$dir/image" "$initrd"
    rm -rf "$dir"
}

# A module and, before it in the order, what it depends on.
add_module() { # name folder
    local name=$1 dir=$2 file length dependency
    [[ ! -e $dir/$name.ko ]] || return 0
    file=$(find "$modules/kernel" \( -name "$name.ko*" -o -name "${name//_/-}.ko*" \) | head -n 1)
    [[ -n $file ]] || return 0 # built into the kernel
    case $file in
    *.xz) xz -dc "$file" ;;
    *.zst) zstd -dcq "$file" ;;
    *) cat "$file" ;;
    esac >"$dir/$name.ko"
    # Without its signature a module loads 0.1 to 0.4 s sooner: no public-key work under TCG.
    # The trailer: 12 bytes, of which the last 4 are the signature's length, and a magic line of 28.
    if [[ $(tail -c 28 "$dir/$name.ko") == '~Module signature appended~' ]]; then
        length=$(tail -c 32 "$dir/$name.ko" | head -c 4 | od -An -tu4 --endian=big)
        truncate -s -$((length + 40)) "$dir/$name.ko"
    fi
    for dependency in $(tr '\0' '\n' <"$dir/$name.ko" | sed -n 's/^depends=//p' | head -n 1 | tr ',' ' '); do
        add_module "$dependency" "$dir"
    done
    echo "$name" >>"$dir/order"
}
