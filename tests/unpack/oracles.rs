//! The tree is what Debian's umoci and GNU tar make of the same layers, path by path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::{character, directory, fifo, file, link, symlink, tar};
use crate::case::table;
use crate::tree::{LIMITS, Scratch, assert_same, extractor_with, lines, owners};

table!(Root;
    the_tree_is_that_of_umoci[Program("umoci")],
    the_tree_is_that_of_tar[Program("tar")],
    what_tar_writes_is_what_tar_reads[Program("tar")],
    a_debian_is_that_of_umoci_and_tar[Program("umoci"), Program("debootstrap"),
        Variable("HULL_TEST_DEBOOTSTRAP", "it downloads a Debian")],
);

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Without whiteouts, which tar does not know.
fn base() -> Vec<u8> {
    tar([
        directory(".").mode(0o755),
        directory("bin").mode(0o755).pax("mtime", "1500000000.5"),
        file("bin/ping", "ping").attribute("security.capability", CAPABILITY),
        file("bin/su", "su").mode(0o4755).owner(0, 42),
        link("bin/su-too", "bin/su"),
        symlink("bin/sh", "su").owner(5, 6),
        link("bin/sh-too", "bin/sh"),
        directory("tmp").mode(0o1777),
        directory("srv").mode(0o2775).owner(33, 33).attribute("user.srv", b"1\0\xff"),
        file("srv/data", vec![9; 100_000]).owner(33, 33).mode(0o600).pax("mtime", "-5.25"),
        directory("dev"),
        character("dev/null", 1, 3).mode(0o666),
        fifo("dev/log").mode(0o622).owner(1, 1),
        directory("locked").mode(0),
        file("locked/x", "x").mode(0),
        directory("d"),
        directory("d/sub").mode(0o711),
        file("d/sub/x", "1"),
        file("d/old", "1"),
        directory("was-directory"),
        file("was-directory/x", "1"),
        file("was-file", "1"),
        directory("x".repeat(200)),
        file("x".repeat(200) + "/" + &"y".repeat(90), "long"),
        symlink("long-link", "z".repeat(300)),
    ])
}

fn upper() -> Vec<u8> {
    tar([
        directory("d").mode(0o750).pax("mtime", "1600000000.000000001"),
        file("d/new", "2"),
        link("d/su", "bin/su"),
        file("was-directory", "2"),
        directory("was-file"),
        file("was-file/x", "2"),
        file("tmp/in", "2"),
        file("bin/su", "2").mode(0o755),
    ])
}

fn whiteouts() -> Vec<u8> {
    tar([
        file("d/.wh.old", ""),
        file("d/sub/.wh..wh..opq", ""),
        file("d/sub/y", "3"),
        file(".wh.tmp", ""),
        directory("tmp").mode(0o700),
        file("tmp/new", "3"),
        file(".wh.was-file", ""),
        file("bin/.wh.sh", ""),
        link("bin/ping-too", "bin/ping"),
    ])
}

fn run(command: &mut Command) {
    let output = command.output().expect("start a program");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn ours(scratch: &Scratch, layers: &[PathBuf]) -> PathBuf {
    let root = scratch.directory("ours");
    let limits = hull::unpack::extract::Limits { size: 1 << 40, ..LIMITS };
    let mut extractor = extractor_with(&root, owners(), limits);
    for layer in layers {
        let file = fs::File::open(layer).unwrap();
        extractor.layer(&mut std::io::BufReader::new(file)).unwrap();
    }
    assert_eq!(extractor.finish().unwrap(), Vec::<String>::new());
    root
}

fn of_umoci(scratch: &Scratch, layers: &[PathBuf]) -> PathBuf {
    let layout = scratch.path("layout");
    let image = format!("{}:test", layout.display());
    let umoci = || Command::new("umoci");
    run(umoci().args(["init", "--layout"]).arg(&layout));
    run(umoci().args(["new", "--image", &image]));
    for layer in layers {
        run(umoci().args(["raw", "add-layer", "--image", &image]).arg(layer));
    }
    run(umoci().args(["unpack", "--image", &image]).arg(scratch.path("bundle")));
    scratch.path("bundle/rootfs")
}

fn of_tar(scratch: &Scratch, layers: &[PathBuf]) -> PathBuf {
    let root = scratch.directory("theirs");
    for layer in layers {
        let flags = ["-x", "-p", "--same-owner", "--numeric-owner"];
        let attributes = ["--xattrs", "--xattrs-include=*"];
        run(Command::new("tar")
            .args(flags)
            .args(attributes)
            .arg("-C")
            .arg(&root)
            .arg("-f")
            .arg(layer));
    }
    root
}

fn the_tree_is_that_of_umoci() {
    let scratch = Scratch::new();
    let layers = [base(), upper(), whiteouts()];
    let write = |(at, layer): (usize, &Vec<u8>)| scratch.write(&format!("{at}.tar"), layer);
    let layers: Vec<PathBuf> = layers.iter().enumerate().map(write).collect();
    for count in 1..=layers.len() {
        let scratch = Scratch::new();
        let ours = ours(&scratch, &layers[..count]);
        assert_same(&lines(&ours), &lines(&of_umoci(&scratch, &layers[..count])));
    }
}

fn the_tree_is_that_of_tar() {
    let scratch = Scratch::new();
    // With an entry for each directory in which something changes: tar gives the others new times.
    let upper = tar([
        directory("."),
        directory("bin").mode(0o700),
        file("bin/su", "2").mode(0o755),
        directory("d").mode(0o750).pax("mtime", "1600000000.000000001"),
        link("d/su", "bin/su"),
        symlink("d/old", "new"),
        fifo("d/new"),
    ]);
    let layers = vec![scratch.write("0.tar", &base()), scratch.write("1.tar", &upper)];
    assert_same(&lines(&ours(&scratch, &layers)), &lines(&of_tar(&scratch, &layers)));
}

fn what_tar_writes_is_what_tar_reads() {
    let scratch = Scratch::new();
    let sources = vec![scratch.write("0.tar", &base())];
    let source = of_tar(&scratch, &sources);
    let hole = fs::File::create(source.join("hole")).unwrap();
    hole.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hole, b"data", 5 << 20).unwrap();
    let expected = lines(&source);
    let pax = ["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse"];
    let forms: [&[&str]; 5] = [
        &pax,
        &[&pax[..], &["--sparse-version=0.0"]].concat(),
        &[&pax[..], &["--sparse-version=0.1"]].concat(),
        &["--format=posix", "--xattrs", "--xattrs-include=*"],
        &["--format=gnu", "--sparse"],
    ];
    for form in forms {
        let scratch = Scratch::new();
        let archive = scratch.path("a.tar");
        run(Command::new("tar")
            .arg("-c")
            .args(form)
            .arg("-C")
            .arg(&source)
            .arg("-f")
            .arg(&archive)
            .arg("."));
        let found = lines(&ours(&scratch, &[archive]));
        if form.contains(&"--format=gnu") {
            // GNU's own form has whole seconds and no attributes.
            let plain = |tree: &std::collections::BTreeMap<Vec<u8>, String>| {
                let line = |line: &String| {
                    let words = line.split(' ').filter(|word| !word.contains('='));
                    let words =
                        words.map(|word| word.split_once('.').map_or(word, |whole| whole.0));
                    words.collect::<Vec<_>>().join(" ")
                };
                tree.iter().map(|(path, text)| (path.clone(), line(text))).collect()
            };
            assert_same(&plain(&found), &plain(&expected));
        } else {
            assert_same(&found, &expected);
        }
    }
}

fn a_debian_is_that_of_umoci_and_tar() {
    let scratch = Scratch::new();
    let debian = scratch.path("debian");
    run(Command::new("debootstrap").args(["--variant=minbase", "stable"]).arg(&debian));
    let archive = scratch.path("debian.tar");
    let flags = ["-c", "--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner"];
    run(Command::new("tar").args(flags).arg("-C").arg(&debian).arg("-f").arg(&archive).arg("."));
    let layers = [archive];
    let expected = lines(&ours(&scratch, &layers));
    assert_same(&expected, &lines(&of_umoci(&scratch, &layers)));
    assert_same(&expected, &lines(&of_tar(&scratch, &layers)));
    assert!(expected.len() > 5000 && Path::new(&debian).is_dir());
}
