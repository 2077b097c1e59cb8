//! What a tar says of a file is what the file becomes: image-spec, layer.md, "File Attributes".

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::archive::{
    Entry, character, description, directory, entry, fifo, file, link, open_tar, records, symlink,
    tar,
};
use crate::case::table;
use crate::tree::{LIMITS, Scratch, apply, apply_with, attributes, lines, owners};

table!(;
    a_file_has_content_mode_and_times,
    owners_and_set_id_bits_are_those_of_the_tar[Root],
    ids_are_moved_by_ranges[Root],
    capabilities_of_a_moved_root_are_his[Root],
    extended_attributes_are_kept,
    the_label_of_another_machine_is_left_out,
    an_access_list_is_kept_and_not_handed_on[Root],
    hard_links_share_a_file_and_change_nothing,
    a_hard_link_to_a_symbolic_link_is_one,
    links_may_say_anything,
    devices_and_fifos_are_made[Root],
    sparse_files_of_all_four_forms_have_their_holes,
    long_and_strange_names_are_kept,
    global_records_count_until_the_entry_says_otherwise,
    a_directory_that_locks_its_owner_out_is_filled,
    missing_parents_are_made,
    a_parent_that_is_a_link_is_followed_inside_the_root,
    times_of_directories_are_those_of_their_entries,
    the_later_of_two_entries_counts,
    a_set_group_id_directory_hands_nothing_on[Root],
    more_directories_than_may_be_open_get_their_times,
    what_trails_the_tar_is_read,
    headers_of_old_tars_are_read,
);

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn mtime(path: impl AsRef<Path>) -> (i64, i64) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.mtime(), stat.mtime_nsec())
}

fn unpacked(entries: impl IntoIterator<Item = Entry>) -> (Scratch, std::path::PathBuf) {
    let scratch = Scratch::new();
    let root = apply(&scratch, &[tar(entries)]).unwrap();
    (scratch, root)
}

fn a_file_has_content_mode_and_times() {
    let (_scratch, root) = unpacked([
        file("a", "text").mode(0o640).pax("mtime", "1234567890.123456789"),
        file("old", "").mode(0o444).pax("mtime", "-1.5"),
        file("big", vec![7; 3_000_001]),
    ]);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"text");
    assert_eq!(mode(root.join("a")), 0o640);
    assert_eq!(mtime(root.join("a")), (1_234_567_890, 123_456_789));
    assert_eq!(mode(root.join("old")), 0o444);
    assert_eq!(mtime(root.join("old")), (-2, 500_000_000));
    assert_eq!(fs::read(root.join("big")).unwrap(), vec![7; 3_000_001]);
}

fn owners_and_set_id_bits_are_those_of_the_tar() {
    let (_scratch, root) = unpacked([
        file("su", "x").mode(0o6755).owner(1000, 2000),
        directory("tmp").mode(0o3777).owner(1, 2),
        file("tmp/own", "x").owner(0, 0).mode(0o4111),
        symlink("l", "su").owner(7, 8),
        file("many", "").pax("uid", "4000000000").pax("gid", "4000000001"),
    ]);
    let of = |name: &str| {
        let stat = fs::symlink_metadata(root.join(name)).unwrap();
        (stat.mode() & 0o7777, stat.uid(), stat.gid())
    };
    assert_eq!(of("su"), (0o6755, 1000, 2000));
    assert_eq!(of("tmp"), (0o3777, 1, 2));
    assert_eq!(of("tmp/own"), (0o4111, 0, 0));
    assert_eq!(of("l"), (0o777, 7, 8));
    assert_eq!(of("many"), (0o644, 4_000_000_000, 4_000_000_001));
}

fn moved() -> hull::unpack::owners::Owners {
    let range = |text: &str| vec![text.parse().unwrap()];
    hull::unpack::owners::Owners::moved(range("0:100000:1000"), range("0:200000:1000")).unwrap()
}

fn ids_are_moved_by_ranges() {
    let scratch = Scratch::new();
    let acl = |uid: u32| {
        let mut list = vec![2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0];
        list.extend_from_slice(&uid.to_le_bytes());
        for tag in [4_u8, 16, 32] {
            list.extend_from_slice(&[tag, 0, 4, 0, 255, 255, 255, 255]);
        }
        list
    };
    let layer = tar([file("a/b", "").owner(1, 2).attribute("system.posix_acl_access", acl(33))]);
    let root = apply_with(&scratch, &[layer], moved(), LIMITS).unwrap();
    let stat = fs::metadata(root.join("a/b")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (100_001, 200_002));
    assert_eq!(attributes(&root.join("a/b"))["system.posix_acl_access"], acl(100_033));
    for implicit in ["", "a"] {
        let stat = fs::metadata(root.join(implicit)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (100_000, 200_000));
    }
    let scratch = Scratch::new();
    let layer = tar([file("a", "").owner(1000, 0)]);
    let error = apply_with(&scratch, &[layer], moved(), LIMITS).unwrap_err().to_string();
    assert_eq!(error, "entry 1: \"a\": user 1000: no range maps it");
}

/// `struct vfs_cap_data` of version 2 with cap_net_raw, effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn capabilities_of_a_moved_root_are_his() {
    let layer = tar([file("ping", "x").attribute("security.capability", CAPABILITY)]);
    let scratch = Scratch::new();
    let root = apply(&scratch, std::slice::from_ref(&layer)).unwrap();
    assert_eq!(attributes(&root.join("ping"))["security.capability"], CAPABILITY);
    let scratch = Scratch::new();
    let root = apply_with(&scratch, &[layer], moved(), LIMITS).unwrap();
    let capability = &attributes(&root.join("ping"))["security.capability"];
    assert_eq!(capability[..4], [1, 0, 0, 3]);
    assert_eq!(capability[4..20], CAPABILITY[4..]);
    assert_eq!(capability[20..], 100_000_u32.to_le_bytes());
}

fn extended_attributes_are_kept() {
    let (_scratch, root) = unpacked([
        file("a", "x")
            .mode(0o400)
            .attribute("user.binary", b"a\0=\n\xff")
            .attribute("user.empty", ""),
        directory("d").mode(0o555).attribute("user.d", "1"),
        file("d/x", ""),
    ]);
    let of_a = attributes(&root.join("a"));
    assert_eq!(of_a["user.binary"], b"a\0=\n\xff");
    assert_eq!(of_a["user.empty"], b"");
    assert_eq!(mode(root.join("a")), 0o400);
    assert_eq!(attributes(&root.join("d"))["user.d"], b"1");
    assert_eq!(mode(root.join("d")), 0o555);
}

fn the_label_of_another_machine_is_left_out() {
    let (_scratch, root) = unpacked([
        file("a", "").attribute("security.selinux", "system_u:object_r:shadow_t:s0"),
        file("b", "").attribute("user.a", "system_u:object_r:shadow_t:s0"),
    ]);
    let label = b"system_u:object_r:shadow_t:s0".to_vec();
    assert!(!attributes(&root.join("a")).values().any(|value| *value == label));
    assert!(attributes(&root.join("b")).values().any(|value| *value == label));
}

fn an_access_list_is_kept_and_not_handed_on() {
    let mut list = vec![2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 33, 0, 0, 0];
    for tag in [4_u8, 16, 32] {
        list.extend_from_slice(&[tag, 0, 7, 0, 255, 255, 255, 255]);
    }
    let (_scratch, root) = unpacked([
        directory("d").attribute("system.posix_acl_default", &list),
        file("d/file", "").mode(0o604),
        directory("d/d").mode(0o705),
    ]);
    assert_eq!(attributes(&root.join("d"))["system.posix_acl_default"], list);
    for (name, expected) in [("d/file", 0o604), ("d/d", 0o705)] {
        assert!(attributes(&root.join(name)).is_empty());
        assert_eq!(mode(root.join(name)), expected);
    }
}

fn hard_links_share_a_file_and_change_nothing() {
    let scratch = Scratch::new();
    let layers = [
        tar([file("a", "x").mode(0o600)]),
        tar([
            link("d/b", "a").mode(0o777).owner(0, 0),
            link("./a", "/a"),
            link("d/b", "a"),
            file("c", "1"),
            link("c", "d/b"),
        ]),
    ];
    let root = apply(&scratch, &layers).unwrap();
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("d/b"));
    assert_eq!(inode("a"), inode("c"));
    assert_eq!(fs::metadata(root.join("a")).unwrap().nlink(), 3);
    assert_eq!(mode(root.join("a")), 0o600);
    assert_eq!(fs::read(root.join("c")).unwrap(), b"x");
}

fn a_hard_link_to_a_symbolic_link_is_one() {
    let scratch = Scratch::new();
    let outside = scratch.write("outside", b"");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
    let target = outside.to_str().unwrap();
    // CVE-2021-32760: the mode of the link's entry went to what the symbolic link leads to.
    let layer = tar([symlink("s", target), link("h", "s").mode(0o4777), link("h", "s")]);
    let root = apply(&scratch, &[layer]).unwrap();
    assert_eq!(fs::read_link(root.join("h")).unwrap(), outside);
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("s"), inode("h"));
    assert_eq!(mode(outside), 0o600);
}

fn links_may_say_anything() {
    let targets = ["/", "../../..", "a b\nc", "x".repeat(4000).leak(), "/proc/self/root"];
    let entries = targets.iter().enumerate().map(|(at, target)| symlink(at.to_string(), target));
    let (_scratch, root) = unpacked(entries);
    for (at, target) in targets.iter().enumerate() {
        assert_eq!(fs::read_link(root.join(at.to_string())).unwrap(), Path::new(target));
    }
}

fn devices_and_fifos_are_made() {
    let (_scratch, root) = unpacked([
        character("null", 1, 3).mode(0o666).owner(0, 5),
        entry(b'4', "loop").mode(0o660).patch(329, "0000007\x000000011\0"),
        character("large", 4095, 0).patch(337, "3777777\0").mode(0o600),
        fifo("pipe").mode(0o622).attribute("user.a", "1"),
    ]);
    let stat = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert!(stat("null").file_type().is_char_device());
    assert_eq!((stat("null").rdev(), stat("null").gid()), (0x103, 5));
    assert!(stat("loop").file_type().is_block_device());
    assert_eq!(stat("loop").rdev(), 0x709);
    assert_eq!(rustix::fs::minor(stat("large").rdev()), 0o3777777);
    assert!(stat("pipe").file_type().is_fifo());
    assert_eq!(mode(root.join("pipe")), 0o622);
    assert_eq!(mtime(root.join("pipe")), (1_000_000_000, 0));
}

fn sparse_files_of_all_four_forms_have_their_holes() {
    // 10 bytes at 1 MiB, 5 bytes at 2 MiB, and a hole up to 3 MiB.
    const M: u64 = 1 << 20;
    let data = b"0123456789abcde";
    let mut expected = vec![0; 3 * M as usize];
    expected[M as usize..][..10].copy_from_slice(&data[..10]);
    expected[2 * M as usize..][..5].copy_from_slice(&data[10..]);
    let number = |number: u64| format!("{number:011o}\0");
    let old = [number(M), number(10), number(2 * M), number(5), number(3 * M), number(0)].concat();
    let mut with_map = format!("3\n{M}\n10\n{}\n5\n{}\n0\n", 2 * M, 3 * M).into_bytes();
    with_map.resize(512, 0);
    with_map.extend_from_slice(data);
    let text = |number: u64| number.to_string();
    let (_scratch, root) = unpacked([
        file("old", data)
            .patch(156, "S")
            .patch(257, b"ustar  \0")
            .patch(386, old)
            .patch(483, number(3 * M)),
        file("0.0", data)
            .pax("GNU.sparse.size", text(3 * M))
            .pax("GNU.sparse.numblocks", "2")
            .pax("GNU.sparse.offset", text(M))
            .pax("GNU.sparse.numbytes", "10")
            .pax("GNU.sparse.offset", text(2 * M))
            .pax("GNU.sparse.numbytes", "5"),
        file("GNUSparseFile.0/0.1", data)
            .pax("GNU.sparse.name", "0.1")
            .pax("GNU.sparse.size", text(3 * M))
            .pax("GNU.sparse.map", format!("{M},10,{},5", 2 * M)),
        file("GNUSparseFile.0/1.0", with_map)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.name", "1.0")
            .pax("GNU.sparse.realsize", text(3 * M)),
        file("after", "all"),
    ]);
    for name in ["old", "0.0", "0.1", "1.0"] {
        assert!(fs::read(root.join(name)).unwrap() == expected, "{name}");
        let blocks = fs::metadata(root.join(name)).unwrap().blocks();
        assert!(blocks < 100, "{name} has {blocks} blocks");
    }
    assert!(!root.join("GNUSparseFile.0").exists());
    assert_eq!(fs::read(root.join("after")).unwrap(), b"all");
}

fn long_and_strange_names_are_kept() {
    use std::os::unix::ffi::OsStrExt;
    let long = "d/".repeat(100) + &"n".repeat(255);
    let gnu = "g".repeat(200);
    let strange: &[u8] = b"\xff\x01 \n\\";
    let (_scratch, root) = unpacked([
        file(&long, "1"),
        file(strange, "2"),
        description(b'L', format!("{gnu}\0")),
        description(b'K', format!("{gnu}/target\0")),
        symlink("short", "short"),
        file("in-prefix", "3").patch(345, "prefix/of/it"),
        file("whole", "4").patch(345, "ignored").patch(257, b"ustar  \0"),
        file("latin", "5").pax("hdrcharset", "BINARY").pax("path", b"\xe9"),
    ]);
    let read = |name: &[u8]| fs::read(root.join(std::ffi::OsStr::from_bytes(name))).unwrap();
    assert_eq!(read(long.as_bytes()), b"1");
    assert_eq!(read(strange), b"2");
    assert_eq!(fs::read_link(root.join(&gnu)).unwrap(), Path::new(&(gnu + "/target")));
    assert_eq!(read(b"prefix/of/it/in-prefix"), b"3");
    assert_eq!(read(b"whole"), b"4");
    assert_eq!(read(b"\xe9"), b"5");
}

fn global_records_count_until_the_entry_says_otherwise() {
    let (_scratch, root) = unpacked([
        file("before", ""),
        description(b'g', records(&[("mtime", b"5"), ("comment", b"0123")])),
        file("global", ""),
        file("own", "").pax("mtime", "6"),
        description(b'g', records(&[("mtime", b"")])),
        file("after", ""),
    ]);
    let of = |name: &str| mtime(root.join(name)).0;
    assert_eq!(["before", "global", "own", "after"].map(of), [1_000_000_000, 5, 6, 1_000_000_000]);
}

fn a_directory_that_locks_its_owner_out_is_filled() {
    let scratch = Scratch::new();
    let layers = [
        tar([
            directory("d").mode(0),
            directory("d/e").mode(0o111),
            file("d/e/f", "1").mode(0),
            directory("r").mode(0o555),
        ]),
        tar([file("d/e/g", "2"), file("r/x", "3"), file("d/e/f", "4").mode(0)]),
    ];
    let root = apply(&scratch, &layers).unwrap();
    assert_eq!(mode(root.join("r")), 0o555);
    assert_eq!(fs::read(root.join("r/x")).unwrap(), b"3");
    assert_eq!(mode(root.join("d")), 0);
    fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(mode(root.join("d/e")), 0o111);
    assert_eq!(fs::read(root.join("d/e/g")).unwrap(), b"2");
}

fn missing_parents_are_made() {
    let (_scratch, root) = unpacked([file("a/b/c", ""), directory("a").mode(0o700)]);
    assert_eq!((mode(root.join("a")), mode(root.join("a/b"))), (0o700, 0o755));
    assert_eq!(mtime(root.join("a/b")), (0, 0), "the same image makes the same tree");
    assert_eq!((mode(&root), mtime(&root)), (0o755, (0, 0)));
}

fn a_parent_that_is_a_link_is_followed_inside_the_root() {
    let scratch = Scratch::new();
    let layers = [
        tar([directory("usr/lib"), symlink("lib", "usr/lib"), symlink("up", "/../../lib/./x/..")]),
        tar([
            file("lib/a", "1"),
            file("up/b", "2"),
            symlink("dangling", "run/made"),
            file("dangling/c", "3"),
        ]),
    ];
    let root = apply(&scratch, &layers).unwrap();
    assert_eq!(fs::read(root.join("usr/lib/a")).unwrap(), b"1");
    assert_eq!(fs::read(root.join("usr/lib/b")).unwrap(), b"2");
    assert_eq!(fs::read(root.join("run/made/c")).unwrap(), b"3");
    assert!(fs::symlink_metadata(root.join("lib")).unwrap().is_symlink());
}

fn times_of_directories_are_those_of_their_entries() {
    let scratch = Scratch::new();
    let layers = [
        tar([directory("."), directory("d"), file("d/a", ""), directory("e"), directory("e/f")]),
        tar([file("d/b", ""), file("e/f/.wh.nothing", ""), file(".wh.d2", ""), file("x", "")]),
        tar([file("d/.wh.a", "")]),
    ];
    let root = apply(&scratch, &layers).unwrap();
    for name in ["", "d", "e", "e/f"] {
        assert_eq!(mtime(root.join(name)), (1_000_000_000, 0), "{name}");
    }
}

fn the_later_of_two_entries_counts() {
    let scratch = Scratch::new();
    let kinds = |name: &'static str| {
        vec![
            file(name, "1").mode(0o600).attribute("user.a", "1"),
            directory(name).mode(0o700).attribute("user.a", "1"),
            symlink(name, "elsewhere"),
            fifo(name).mode(0o600),
        ]
    };
    let mut entries = Vec::new();
    for (one, first) in kinds("x").into_iter().enumerate() {
        for (other, second) in kinds("x").into_iter().enumerate() {
            let (one, other) = (first.clone(), (one, other, second));
            let name = format!("{}-{}", other.0, other.1);
            entries.push(one.pax("path", &name));
            entries.push(file(format!("{name}-below/x"), ""));
            entries.push(other.2.pax("path", &name));
        }
    }
    let root = apply(&scratch, &[tar(entries)]).unwrap();
    let alone = Scratch::new();
    let single: Vec<Entry> =
        kinds("x").into_iter().enumerate().map(|(at, e)| e.pax("path", at.to_string())).collect();
    let expected = lines(&apply(&alone, &[tar(single)]).unwrap());
    let found = lines(&root);
    for one in 0..4 {
        for other in 0..4 {
            let found = &found[format!("/{one}-{other}").as_bytes()];
            assert_eq!(found, &expected[format!("/{other}").as_bytes()], "{one} then {other}");
        }
    }
}

fn a_set_group_id_directory_hands_nothing_on() {
    let scratch = Scratch::new();
    let layers = [
        tar([directory("g").mode(0o2775).owner(0, 50), file("g/a", ""), directory("g/d")]),
        tar([file("g/b", ""), directory("g/e")]),
    ];
    let root = apply(&scratch, &layers).unwrap();
    assert_eq!(mode(root.join("g")), 0o2775);
    for (name, expected) in [("g/a", 0o644), ("g/b", 0o644), ("g/d", 0o755), ("g/e", 0o755)] {
        assert_eq!(mode(root.join(name)), expected, "{name}");
        assert_eq!(fs::metadata(root.join(name)).unwrap().gid(), 0, "{name}");
    }
}

fn more_directories_than_may_be_open_get_their_times() {
    let name = |at: usize| format!("{}/{at}", at % 7);
    let directories = (0..600).map(|at| directory(name(at)).mode(0o500));
    let files = (0..600).rev().map(|at| file(name(at) + "/f", ""));
    let (_scratch, root) = unpacked(directories.chain(files));
    for at in 0..600 {
        assert_eq!(mtime(root.join(name(at))), (1_000_000_000, 0));
        assert_eq!(mode(root.join(name(at))), 0o500);
        assert!(root.join(name(at) + "/f").is_file());
    }
}

fn what_trails_the_tar_is_read() {
    let ends: [&[u8]; 5] =
        [&[], &[0; 512], &[0; 10240], &[0; 1025], &[[0; 1024], [1; 1024]].concat()];
    for end in ends {
        let scratch = Scratch::new();
        let mut layer = open_tar([file("a", "1")]);
        layer.extend_from_slice(end);
        let root = scratch.directory("root");
        let mut extractor = crate::tree::extractor(&root, owners());
        let mut left = layer.as_slice();
        extractor.layer(&mut left).unwrap();
        assert!(left.is_empty(), "a stream is verified by all of its bytes");
        assert!(root.join("a").is_file());
    }
    for empty in [&[][..], &[0; 1024]] {
        apply(&Scratch::new(), &[empty.to_vec()]).unwrap();
    }
}

fn headers_of_old_tars_are_read() {
    let v7 = [0; 8];
    let mut signed = file("signed-\u{e9}", "1");
    // The sum of signed bytes: each of the two bytes of é counts 256 less.
    let tar_of = |entry: Entry| open_tar([entry]);
    let block = tar_of(signed.clone());
    let sum = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
    signed = signed.patch(148, format!("{:06o}\0 ", sum - 512));
    let mut layer = tar_of(signed);
    layer.extend(tar([
        entry(0, "d/").patch(257, v7),
        entry(0, "d/f").data("2").patch(257, v7),
        file("base-256", "3").size(b"\x80\0\0\0\0\0\0\0\0\0\0\x01"),
        file("contiguous", "4").patch(156, "7"),
        description(b'V', "a volume"),
        directory("sized").size("00000001000\0"),
    ]));
    let scratch = Scratch::new();
    let root = apply(&scratch, &[layer]).unwrap();
    for (name, expected) in
        [("signed-é", "1"), ("d/f", "2"), ("base-256", "3"), ("contiguous", "4")]
    {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), expected, "{name}");
    }
    assert!(root.join("sized").is_dir());
}
