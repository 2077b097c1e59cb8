//! Whiteouts hide what layers below have, wherever in their layer they stand: image-spec, layer.md,
//! "Whiteouts". Each layer is applied with its entries in every order.

use std::fs;
use std::os::unix::fs::MetadataExt;

use hull::unpack::extract::Prefix;

use crate::archive::{Entry, directory, file, symlink, tar};
use crate::case::table;
use crate::tree::{Scratch, apply, assert_same, attributes, lines, stack};

table!(;
    a_whiteout_removes_what_is_below,
    a_whiteout_leaves_its_own_layer_alone,
    an_opaque_whiteout_empties_a_directory,
    an_opaque_whiteout_of_the_root_empties_it,
    a_hidden_directory_has_nothing_of_the_old_one,
    whiteouts_are_found_through_links,
    a_whiteout_of_nothing_makes_nothing,
    a_whiteout_of_a_link_leaves_what_it_leads_to,
    a_directory_that_is_deeper_than_files_may_be_open_is_removed,
    a_large_directory_that_is_emptied_has_the_time_of_its_entry,
    a_directory_that_is_hidden_time_and_again_is_emptied_once,
);

/// The tree of a lower layer and of one above it, the same for each order of the latter's entries.
fn in_any_order(lower: &[Entry], upper: &[Entry]) -> (Scratch, std::path::PathBuf) {
    let mut orders = Vec::new();
    permute(&mut upper.to_vec(), 0, &mut orders);
    let mut first: Option<(Scratch, std::path::PathBuf)> = None;
    for order in orders {
        let scratch = Scratch::new();
        let root = apply(&scratch, &[tar(lower.to_vec()), tar(order)]).unwrap();
        match &first {
            Some((_, other)) => assert_same(&lines(&root), &lines(other)),
            None => first = Some((scratch, root)),
        }
    }
    first.unwrap()
}

fn permute(entries: &mut Vec<Entry>, start: usize, orders: &mut Vec<Vec<Entry>>) {
    if start == entries.len() {
        orders.push(entries.clone());
    }
    for at in start..entries.len() {
        entries.swap(start, at);
        permute(entries, start + 1, orders);
        entries.swap(start, at);
    }
}

fn names(root: &std::path::Path) -> Vec<String> {
    lines(root)
        .keys()
        .skip(1)
        .map(|name| String::from_utf8_lossy(&name[1..]).into_owned())
        .collect()
}

fn lower() -> Vec<Entry> {
    vec![
        directory("d").mode(0o700).owner(0, 0).attribute("user.old", "1"),
        file("d/old", "1"),
        directory("d/sub").mode(0o711),
        file("d/sub/old", "1"),
        file("f", "1"),
        symlink("l", "d"),
    ]
}

fn a_whiteout_removes_what_is_below() {
    let (_scratch, root) =
        in_any_order(&lower(), &[file(".wh.f", ""), file("d/.wh.sub", ""), file(".wh.l", "")]);
    assert_eq!(names(&root), ["d", "d/old"]);
    let (_scratch, root) = in_any_order(&lower(), &[file(".wh.d", "")]);
    assert_eq!(names(&root), ["f", "l"]);
}

fn a_whiteout_leaves_its_own_layer_alone() {
    let upper = [file(".wh.f", ""), file("f", "2"), file("d/.wh.sub", ""), file("d/sub/new", "2")];
    let (_scratch, root) = in_any_order(&lower(), &upper);
    assert_eq!(names(&root), ["d", "d/old", "d/sub", "d/sub/new", "f", "l"]);
    assert_eq!(fs::read(root.join("f")).unwrap(), b"2");
}

fn an_opaque_whiteout_empties_a_directory() {
    let upper = [file("d/.wh..wh..opq", ""), file("d/sub/new", "2"), file("d/new", "2")];
    let (_scratch, root) = in_any_order(&lower(), &upper);
    assert_eq!(names(&root), ["d", "d/new", "d/sub", "d/sub/new", "f", "l"]);
    // The directory itself is not hidden, but what was in it is.
    let lines = lines(&root);
    assert!(lines[&b"/d"[..]].contains("40700") && lines[&b"/d"[..]].contains("user.old"));
    assert!(lines[&b"/d/sub"[..]].contains("40755"));
}

fn an_opaque_whiteout_of_the_root_empties_it() {
    let (_scratch, root) = in_any_order(&lower(), &[file(".wh..wh..opq", ""), file("new", "2")]);
    assert_eq!(names(&root), ["new"]);
}

fn a_hidden_directory_has_nothing_of_the_old_one() {
    let (_scratch, root) = in_any_order(&lower(), &[file(".wh.d", ""), file("d/new", "2")]);
    assert_eq!(names(&root), ["d", "d/new", "f", "l"]);
    let line = &lines(&root)[&b"/d"[..]];
    assert!(line.contains("40755") && !line.contains("user.old"), "{line}");
    // With an entry it is as the entry says.
    let entry = directory("d").mode(0o750).attribute("user.new", "1");
    let (_scratch, root) = in_any_order(&lower(), &[file(".wh.d", ""), entry, file("d/new", "2")]);
    let line = &lines(&root)[&b"/d"[..]];
    assert!(line.contains("40750") && line.contains("user.new"), "{line}");
    assert!(!line.contains("user.old"), "{line}");
}

fn whiteouts_are_found_through_links() {
    let (_scratch, root) = in_any_order(&lower(), &[file("l/.wh.old", ""), file("l/new", "2")]);
    assert_eq!(names(&root), ["d", "d/new", "d/sub", "d/sub/old", "f", "l"]);
}

fn a_whiteout_of_nothing_makes_nothing() {
    let upper = [file("none/here/.wh.x", ""), file("none/.wh..wh..opq", ""), file("f/.wh.x", "")];
    let (_scratch, root) = in_any_order(&lower(), &upper);
    assert_eq!(names(&root), ["d", "d/old", "d/sub", "d/sub/old", "f", "l"]);
}

fn a_whiteout_of_a_link_leaves_what_it_leads_to() {
    let scratch = Scratch::new();
    let outside = scratch.write("outside", b"1");
    let lower = [symlink("s", outside.to_str().unwrap()), symlink("up", "..")];
    let upper = [file(".wh.s", ""), file("up/.wh.outside", ""), file("up/.wh.up", "")];
    let root = apply(&scratch, &[tar(lower), tar(upper)]).unwrap();
    assert!(names(&root).is_empty());
    assert_eq!(fs::read(outside).unwrap(), b"1");
}

fn a_directory_that_is_deeper_than_files_may_be_open_is_removed() {
    let deep = "d/".repeat(1900);
    let layers = [tar([file(format!("{deep}f"), ""), file("x", "")]), tar([file(".wh.d", "")])];
    let scratch = Scratch::new();
    let root = apply(&scratch, &layers).unwrap();
    assert_eq!(names(&root), ["x"]);
}

/// More directories than are kept open, between files that go.
fn a_large_directory_that_is_emptied_has_the_time_of_its_entry() {
    let sub = |at| directory(format!("d/s{at}"));
    let lower = (0..300).flat_map(|at| [sub(at), file(format!("d/f{at}"), "")]);
    let mut upper = vec![directory("d").pax("mtime", "7")];
    upper.extend((0..300).map(sub));
    upper.push(file("d/.wh..wh..opq", ""));
    let scratch = Scratch::new();
    let root = apply(&scratch, &[tar(lower), tar(upper)]).unwrap();
    assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 300);
    assert_eq!(fs::metadata(root.join("d")).unwrap().mtime(), 7);
}

/// To look at each file for each whiteout would take hours.
fn a_directory_that_is_hidden_time_and_again_is_emptied_once() {
    let mut upper: Vec<Entry> = (0..10_000).map(|at| file(format!("d/f{at}"), "")).collect();
    for _ in 0..20_000 {
        upper.extend([file("d/.wh..wh..opq", ""), file(".wh.d", "")]);
    }
    let layers = [tar([file("d/old", "1")]), tar(upper)];
    let scratch = Scratch::new();
    let root = apply(&scratch, &layers).unwrap();
    assert!(!root.join("d/old").exists());
    assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 10_000);
    let scratch = Scratch::new();
    let made = stack(&scratch, &layers, Prefix::User).unwrap();
    assert_eq!(attributes(&made[1].join("d"))["user.overlay.opaque"], b"y");
    assert_eq!(fs::read_dir(made[1].join("d")).unwrap().count(), 10_000);
}
