//! Tars that mean harm. Each is refused with the entry's name, or does none; beside each stands a
//! harmless one that differs little, and is extracted.

use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;

use hull::unpack::extract::Limits;

use crate::archive::{
    Entry, character, description, directory, entry, fifo, file, link, open_tar, records, symlink,
    tar,
};
use crate::case::table;
use crate::tree::{LIMITS, Scratch, apply, apply_with, extractor, lines, owners};

table!(;
    each_hostile_tar_is_refused_and_its_twin_is_not,
    nothing_outside_the_root_is_touched,
    the_root_stays_a_directory,
    every_truncation_is_an_error_or_harmless,
    a_bomb_ends_at_the_limit,
    entries_end_at_the_limit,
    directories_without_an_entry_are_counted,
    a_million_entries_are_extracted,
    a_hole_of_many_terabytes_costs_nothing,
    a_full_disk_is_an_error_with_the_entry[Root],
);

/// Layers, and a part of the error.
struct Row(&'static str, Vec<Vec<u8>>, &'static str, Vec<Vec<u8>>);

fn one(name: &'static str, bad: Entry, error: &'static str, good: Entry) -> Row {
    Row(name, vec![tar([bad])], error, vec![tar([good])])
}

fn names() -> Vec<Row> {
    vec![
        one(
            "..",
            file("../x", ""),
            "entry 1: \"../x\": a name that leads above the root",
            file("a/../x", ""),
        ),
        one("/..", file("/a/../../x", ""), "above the root", file("/a/b/../x", "")),
        one(".. of a whiteout", file("../.wh.x", ""), "above the root", file("a/.wh.x", "")),
        one("link to ..", link("x", "../y"), "above the root", symlink("x", "../y")),
        one("nothing", file(".wh.", ""), "a whiteout of nothing", file(".wh", "")),
        one("a whiteout of .", file("a/.wh..", ""), "a whiteout of nothing", file("a/.wh..a", "")),
        one("a whiteout of ..", file(".wh...", ""), "a whiteout of nothing", file(".wh....", "")),
        one(
            "a whiteout of a whiteout",
            file("a/.wh..wh.x", ""),
            "of a whiteout",
            file("a/.wh.x", ""),
        ),
        one(
            "in an opaque one",
            file(".wh..wh..opq/x", ""),
            "in a whiteout",
            file(".wh..wh..opq", ""),
        ),
        one("in a whiteout", directory(".wh.a/x"), "in a whiteout", directory(".wh.a")),
        one(
            "a long name",
            file("x/".repeat(2048), ""),
            "of 4095 at most",
            file("x/".repeat(2000), ""),
        ),
        one(
            "a long part",
            file("x".repeat(256), ""),
            "File name too long",
            file("x".repeat(255), ""),
        ),
        one("a NUL", file("x", "").pax("path", "a\0b"), "a NUL", file("x", "").pax("path", "ab")),
        one(
            "a long text",
            symlink("x", "y".repeat(4096)),
            "name too long",
            symlink("x", "y".repeat(4095)),
        ),
        Row(
            "a cycle of links",
            vec![tar([symlink("a", "b"), symlink("b", "a"), file("a/x", "")])],
            "entry 3: \"a/x\": follow \"a\": Too many symbolic links",
            vec![tar([symlink("a", "b"), symlink("b", "c"), file("a/x", "")])],
        ),
        Row(
            "a link to itself and on",
            vec![tar([symlink("a", "a/../a/b"), file("a/x", "")])],
            "Too many symbolic links",
            vec![tar([symlink("a", "b/../b/c"), file("a/x", "")])],
        ),
        Row(
            "links that grow",
            vec![tar(growing(4000))],
            "File name too long",
            vec![tar(growing(200))],
        ),
    ]
}

/// A path through a link into a directory that is as deep.
fn growing(length: usize) -> Vec<Entry> {
    let deep = "d/".repeat(length / 2);
    vec![symlink("s", deep.as_str()), file("s/".to_owned() + &deep + "x", "")]
}

fn links() -> Vec<Row> {
    let lower = || tar([directory("d"), file("f", "")]);
    vec![
        one(
            "a link to nothing",
            link("x", "y"),
            "a hard link to \"y\", which is not there",
            symlink("x", "y"),
        ),
        Row(
            "a link to a directory",
            vec![lower(), tar([link("x", "d")])],
            "linkat(\"d\", \"x\")",
            vec![lower(), tar([link("x", "f")])],
        ),
        Row(
            "a link of a directory to itself",
            vec![lower(), tar([link("d", "d")])],
            "linkat(\"d\", \"d\")",
            vec![lower(), tar([link("f", "f")])],
        ),
        Row(
            "a link to the root",
            vec![tar([link("x", ".")])],
            "hard link",
            vec![tar([symlink("x", ".")])],
        ),
        Row(
            "a link to a whiteout",
            vec![lower(), tar([file(".wh.f", ""), link("x", ".wh.f")])],
            "not there",
            vec![lower(), tar([file(".wh.d", ""), link("x", "f")])],
        ),
        Row(
            "a link to what replaces it",
            vec![tar([file("a/b", ""), link("a", "a/b")])],
            "linkat(\"b\", \"a\"): No such file",
            vec![tar([file("a/b", ""), link("c", "a/b")])],
        ),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        one("a wrong sum", file("x", "").patch(148, "0000000\0"), "checksum", file("x", "")),
        one(
            "an unknown kind",
            entry(b'Z', "x"),
            "\"x\" is of the unknown kind 'Z'",
            entry(b'7', "x"),
        ),
        one("a volume's rest", entry(b'M', "x"), "unknown kind", entry(b'V', "x")),
        one(
            "a mode that is none",
            file("x", "").patch(100, "9"),
            "the mode",
            file("x", "").patch(100, "1"),
        ),
        one(
            "a negative size",
            file("x", "").size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            "negative",
            file("x", ""),
        ),
        one(
            "a huge size",
            file("x", "").size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            "ends in the middle",
            file("x", ""),
        ),
        one(
            "a size that is none",
            file("x", "").size(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            "is no number",
            file("x", ""),
        ),
        one(
            "a pax size beyond the end",
            file("x", "1").pax("size", "100000"),
            "ends in the middle",
            file("x", "1").pax("size", "1"),
        ),
        one(
            "a pax size that is none",
            file("x", "1").pax("size", "-1"),
            "is no number",
            file("x", "1").pax("size", ""),
        ),
        one(
            "a user beyond 32 bits",
            file("x", "").pax("uid", "4294967296"),
            "not of 32 bits",
            file("x", "").pax("mtime", "4294967296"),
        ),
        one("nobody", file("x", "").pax("uid", "4294967295"), "", file("x", "").pax("uname", "x")),
    ]
}

fn descriptions() -> Vec<Row> {
    let pax = |text: &[u8]| vec![tar([description(b'x', text), file("x", "")])];
    let many = |count: usize| records(&vec![("comment", &[b'x'; 1000][..]); count]);
    vec![
        Row(
            "no records",
            pax(b"x"),
            "header at byte 0: a pax header",
            pax(&records(&[("path", b"x")])),
        ),
        Row("a long description", pax(&many(1100)), "at most", pax(&many(1000))),
        Row(
            "two descriptions",
            vec![tar([description(b'x', ""), file("x", "").pax("path", "y")])],
            "described twice",
            vec![tar([description(b'g', ""), file("x", "").pax("path", "y")])],
        ),
        Row(
            "two long names",
            vec![tar([description(b'L', "z"), file("x", "").pax("path", "y")])],
            "two long names",
            vec![tar([description(b'L', "z"), file("x", "").pax("mtime", "1")])],
        ),
        Row(
            "a description of nothing",
            vec![tar([description(b'x', "")])],
            "ends in the middle",
            vec![tar([description(b'g', "")])],
        ),
        Row(
            "a name for all",
            vec![tar([description(b'g', records(&[("path", b"x")])), file("y", "")])],
            "every entry",
            vec![tar([description(b'g', records(&[("mtime", b"1")])), file("y", "")])],
        ),
        Row(
            "attributes for all",
            vec![tar([
                description(b'g', records(&[("SCHILY.xattr.user.a", b"1")])),
                file("y", ""),
            ])],
            "gives every entry the same name, size or attributes",
            vec![tar([
                description(b'x', records(&[("SCHILY.xattr.user.a", b"1")])),
                file("y", ""),
            ])],
        ),
        Row(
            "a block of zeros in the middle",
            vec![[open_tar([file("x", "")]), vec![0; 512], tar([file("y", "")])].concat()],
            "a block of zeros before byte",
            vec![[open_tar([file("x", "")]), tar([file("y", "")])].concat()],
        ),
    ]
}

fn sparse() -> Vec<Row> {
    let of = |map: &str, size: &str, data: &str| {
        file("x", data).pax("GNU.sparse.map", map).pax("GNU.sparse.size", size)
    };
    let lines = |text: &str| {
        let mut data = text.as_bytes().to_vec();
        data.resize(data.len().next_multiple_of(512), 0);
        let entry = file("x", [&data[..], b"12"].concat());
        entry
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.realsize", "9")
    };
    vec![
        one(
            "segments that overlap",
            of("0,1,0,1", "9", "12"),
            "out of order",
            of("0,1,1,1", "9", "12"),
        ),
        one("segments beyond the file", of("8,2", "9", "12"), "out of order", of("7,2", "9", "12")),
        one(
            "more data than the map has",
            of("0,1", "9", "12"),
            "whose map has 1",
            of("0,2", "9", "12"),
        ),
        one("less data", of("0,3", "9", "12"), "whose map has 3", of("0,2", "9", "12")),
        one("half a segment", of("0,2,5", "9", "12"), "without a length", of("0,2,5,0", "9", "12")),
        one(
            "an offset that wraps",
            of("0,2,18446744073709551615,2", "9", "12"),
            "out of order",
            of("0,2", "9", "12"),
        ),
        one(
            "a size with a sign",
            of("0,2", "18446744073709551615", "12"),
            "whose map",
            of("0,2", "9", "12"),
        ),
        one(
            "an unknown version",
            lines("1\n0\n2\n").pax("GNU.sparse.minor", "7"),
            "unknown version",
            lines("1\n0\n2\n"),
        ),
        one(
            "a count that wraps",
            lines("9223372036854775809\n0\n2\n"),
            "not made of numbers",
            lines("1\n0\n2\n"),
        ),
        one("no numbers", lines("1\nx\n2\n"), "is no number", lines("1\n0\n2\n")),
        one(
            "a map without an end",
            lines(&"1".repeat(512)),
            "not made of numbers",
            lines("1\n0\n2\n"),
        ),
    ]
}

fn each_hostile_tar_is_refused_and_its_twin_is_not() {
    for Row(name, bad, error, good) in
        [names(), links(), headers(), descriptions(), sparse()].into_iter().flatten()
    {
        let is_root = rustix::process::geteuid().is_root();
        let result = apply(&Scratch::new(), &bad);
        // Without privileges every user is oneself.
        if is_root || name != "nobody" {
            let message = result.expect_err(name).to_string();
            assert!(message.contains(error), "{name}: {message}");
            assert!(message.starts_with("entry "), "{name}: {message}");
        }
        apply(&Scratch::new(), &good).unwrap_or_else(|error| panic!("twin of {name}: {error}"));
    }
}

/// Every way out by a link, from the same layer and from one below, for each kind of entry.
fn nothing_outside_the_root_is_touched() {
    let ways = |scratch: &Scratch| {
        let outside = scratch.path("outside").to_str().unwrap().to_owned();
        // From however deep below the host's root.
        let from_the_top = "../".repeat(20) + &outside[1..];
        [outside, "../outside".to_owned(), from_the_top]
    };
    let entries = |way: &str| {
        let mut entries = vec![
            file(format!("{way}/made"), "x"),
            file(format!("{way}/there"), "x").mode(0o777),
            directory(format!("{way}/dir")).mode(0o777),
            directory(format!("{way}/there-too")).mode(0o777),
            symlink(format!("{way}/link"), "x"),
            link(format!("{way}/hard"), format!("{way}/there")),
            fifo(format!("{way}/fifo")),
            file(format!("{way}/.wh.there"), ""),
            file(format!("{way}/.wh..wh..opq"), ""),
            file(way, "x").mode(0o777),
            directory(way).mode(0o777),
        ];
        entries.extend(entries.clone().into_iter().rev());
        entries
    };
    for way in 0..3 {
        for layers in 1..=2 {
            let scratch = Scratch::new();
            let outside = scratch.directory("outside");
            scratch.write("outside/there", b"1");
            scratch.directory("outside/there-too");
            let before = lines(&outside);
            let target = &ways(&scratch)[way];
            for entry in entries("s") {
                let scratch_of_one = scratch.path("root");
                let links = vec![symlink("s", target), link("t", "s")];
                let layers = match layers {
                    1 => vec![tar(links.into_iter().chain([entry]))],
                    _ => vec![tar(links), tar([entry])],
                };
                // Whether it is refused or not.
                apply(&scratch, &layers).ok();
                assert_eq!(lines(&outside), before, "through {target}");
                fs::remove_dir_all(scratch_of_one).unwrap();
            }
        }
    }
    // The twin: the same entries, with a directory where the link was.
    apply(&Scratch::new(), &[tar(entries("s").into_iter().take(9))]).unwrap();
}

/// CVE-2021-29136.
fn the_root_stays_a_directory() {
    for name in [".", "/", "./", "/.", "a/..", "./."] {
        for entry in [
            file(name, "x"),
            symlink(name, "/"),
            link(name, "x"),
            fifo(name),
            character(name, 1, 3),
        ] {
            let scratch = Scratch::new();
            let error = apply(&scratch, &[tar([file("x", ""), entry])]).unwrap_err().to_string();
            assert!(error.contains("the root is a directory and stays one"), "{name}: {error}");
        }
        let scratch = Scratch::new();
        let root = apply(&scratch, &[tar([directory(name).mode(0o711)])]).unwrap();
        assert_eq!(fs::metadata(root).unwrap().mode() & 0o7777, 0o711);
    }
}

fn every_truncation_is_an_error_or_harmless() {
    let whole = tar([
        directory("d"),
        file("d/long", vec![1; 1000]).pax("path", "d/".to_owned() + &"x".repeat(150)),
        link("d/hard", "d/".to_owned() + &"x".repeat(150)),
        symlink("s", "t"),
    ]);
    let end = whole.len() - 1024;
    for length in (0..whole.len()).step_by(37) {
        let scratch = Scratch::new();
        let result = apply(&scratch, &[whole[..length].to_vec()]);
        // Between entries it cannot be seen here, but by the layer's digest. The data of the one file
        // ends 24 bytes before its block does, and those may be missing.
        let is_between = [0, 512, 3072, 3584].contains(&length) || (3048..3072).contains(&length);
        match result {
            Ok(_) => assert!(length >= end || is_between, "{length}"),
            Err(error) => {
                assert!(error.to_string().contains("ends in the middle"), "{length}: {error}")
            }
        }
    }
}

fn a_bomb_ends_at_the_limit() {
    // 10 GB, of which not one is in memory.
    let header = open_tar([file("zeros", "").size("120000000000")]);
    let bomb = || BufReader::new(header.as_slice().chain(std::io::repeat(0)));
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let limits = Limits { entries: 10, size: 1 << 20 };
    let mut limited = crate::tree::extractor_with(&root, owners(), limits);
    let error = limited.layer(&mut bomb()).unwrap_err().to_string();
    assert_eq!(error, "entry 1: \"zeros\": more than 1048576 bytes");
    // What trails counts too.
    let mut trailing = BufReader::new(std::io::repeat(0));
    let error = crate::tree::extractor_with(&root, owners(), limits).layer(&mut trailing);
    assert_eq!(error.unwrap_err().to_string(), "more than 1048576 bytes");
    apply_with(&Scratch::new(), &[tar([file("x", vec![0; 1 << 19])])], owners(), limits).unwrap();
}

fn entries_end_at_the_limit() {
    let limits = |entries| Limits { entries, ..LIMITS };
    let layers =
        || vec![tar([file("a", ""), file("b", "")]), tar([file("c", "").pax("mtime", "1")])];
    let error = apply_with(&Scratch::new(), &layers(), owners(), limits(3)).unwrap_err();
    assert_eq!(error.to_string(), "entry 1: more than 3 entries");
    apply_with(&Scratch::new(), &layers(), owners(), limits(4)).unwrap();
}

fn directories_without_an_entry_are_counted() {
    let layer = tar([file("d/".repeat(100) + "f", ""), file("f", "")]);
    let limits = |entries| Limits { entries, ..LIMITS };
    let apply = |entries| {
        apply_with(&Scratch::new(), std::slice::from_ref(&layer), owners(), limits(entries))
    };
    let error = apply(100).unwrap_err().to_string();
    assert!(error.starts_with("entry 1: \"d/d/"), "{error}");
    assert!(error.ends_with(": more than 100 entries"), "{error}");
    // The two entries, and the one that has the long name.
    apply(103).unwrap();
}

fn a_million_entries_are_extracted() {
    // Of the kinds that change nothing on disk, or the test would be about the filesystem.
    let block = open_tar([link("below", "below"), file("d/.wh.x", ""), file(".wh.d", "")]);
    let times = 1_000_000 / 3 + 1;
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let limits = Limits { entries: 2_000_000, size: 1 << 40 };
    let mut extractor = crate::tree::extractor_with(&root, owners(), limits);
    extractor.layer(&mut tar([file("below", "")]).as_slice()).unwrap();
    let mut stream = BufReader::with_capacity(1 << 16, Repeated { block: &block, at: 0, times });
    extractor.layer(&mut stream).unwrap();
    extractor.finish().unwrap();
    assert_eq!(fs::read_dir(root).unwrap().count(), 1);
}

struct Repeated<'a> {
    block: &'a [u8],
    at: usize,
    times: usize,
}

impl Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            (self.at, self.times) = (0, self.times.saturating_sub(1));
        }
        if self.times == 0 {
            return Ok(0);
        }
        let length = buffer.len().min(self.block.len() - self.at);
        buffer[..length].copy_from_slice(&self.block[self.at..][..length]);
        self.at += length;
        Ok(length)
    }
}

fn a_hole_of_many_terabytes_costs_nothing() {
    let hole = |size: u64| {
        file("hole", "12").pax("GNU.sparse.map", "0,2").pax("GNU.sparse.size", size.to_string())
    };
    let scratch = Scratch::new();
    let root = apply(&scratch, &[tar([hole(8 << 40)])]).unwrap();
    let stat = fs::metadata(root.join("hole")).unwrap();
    assert_eq!(stat.len(), 8 << 40);
    assert!(stat.blocks() < 100);
    // More than ext4 can have; tmpfs can.
    if let Err(error) = apply(&Scratch::new(), &[tar([hole(i64::MAX as u64)])]) {
        assert!(error.to_string().contains("entry 1: \"hole\": ftruncate"), "{error}");
    }
}

fn a_full_disk_is_an_error_with_the_entry() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let scratch = Scratch::new();
    let disk = scratch.directory("disk");
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), Some(c"size=1m,nr_inodes=100")).unwrap();
    let result = |entries: Vec<Entry>| {
        let root = disk.join("root");
        fs::create_dir(&root).unwrap();
        let result = extractor(&root, owners()).layer(&mut tar(entries).as_slice());
        fs::remove_dir_all(root).unwrap();
        result.map_err(|error| error.to_string())
    };
    let large = result(vec![file("fits", vec![1; 500_000]), file("too/large", vec![1; 600_000])]);
    let many = result((0..200).map(|at| file(format!("f{at}"), "")).collect());
    let small = result(vec![file("fits", vec![1; 500_000])]);
    unmount(&disk, UnmountFlags::DETACH).unwrap();
    let large = large.unwrap_err();
    assert!(large.starts_with("entry 2: \"too/large\": write("), "{large}");
    assert!(large.ends_with("No space left on device"), "{large}");
    let many = many.unwrap_err();
    assert!(many.contains("openat(\"f") && many.ends_with("No space left on device"), "{many}");
    small.unwrap();
}
