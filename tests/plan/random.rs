//! Properties that hold whatever is in the config. The input is made up from a fixed seed, so that
//! every run has the same; `PROPTEST_CASES` makes it more.

use std::cell::RefCell;

use hull::host::Host;
use hull::plan::Problems;
use hull::plan::mount_options::{Effect, WORDS};
use hull::plan::mounts::{self, Question};
use hull::plan::namespaces::Namespaces;
use hull::spec::config;
use hull::spec::path::normalize;
use hull::state::check_id;
use hull::sys::mount::MountAttr;
use hull::sys::mount::attribute::{ATIME, NOATIME, STRICTATIME};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::{Manager, host, json, names, plan_of, plan_text};

/// Runs the property; without a file for the cases that failed.
pub fn holds<S: Strategy>(input: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let default = ProptestConfig::default();
    let config = ProptestConfig { cases: default.cases * 4, failure_persistence: None, ..default };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, rng).run(&input, property);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

// --------------------------------------------------------------------- paths

fn path() -> impl Strategy<Value = String> {
    let names = select(vec!["", ".", "..", "...", "a", "b..", "\0", " ", "é"]);
    let paths = vec(names, 0..8).prop_map(|names| names.join("/"));
    prop_oneof![paths, ".{0,16}"]
}

#[test]
fn a_normalized_path_goes_down_from_the_root() {
    holds(path(), |path| {
        let normal = normalize(&path);
        let names: Vec<&str> =
            normal.strip_prefix('/').expect("it is absolute").split('/').collect();
        let is_name = |name: &&str| !["", ".", ".."].contains(name);
        prop_assert!(normal == "/" || names.iter().all(is_name), "{path:?}: {normal:?}");
        prop_assert_eq!(normalize(&normal), normal);
        Ok(())
    });
}

/// What it is below a directory does not depend on what is written before: "/.." is "/".
#[test]
fn a_path_is_normalized_name_by_name() {
    holds((path(), path()), |(first, second)| {
        let whole = normalize(&format!("{first}/{second}"));
        prop_assert_eq!(&whole, &normalize(&format!("{}/{second}", normalize(&first))));
        let down = normalize(&format!("{whole}/down"));
        prop_assert_eq!(normalize(&format!("{down}/..")), whole);
        Ok(())
    });
}

// -------------------------------------------------------------- option words

fn words() -> impl Strategy<Value = Vec<&'static str>> {
    let ours = WORDS.iter().filter(|(_, effect)| {
        matches!(effect, Effect::Attribute(..) | Effect::Recursive(..) | Effect::Nothing)
    });
    vec(select(ours.map(|(word, _)| *word).collect::<Vec<_>>()), 0..12)
}

/// Through the plan, as the words of a bind mount: of the mount itself, and of all below it.
fn attributes(words: &[&str]) -> [MountAttr; 2] {
    let list = ["bind"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let mount = config::Mount {
        destination: "/a".to_owned(),
        source: Some("/b".to_owned()),
        options: list,
        ..config::Mount::default()
    };
    let namespaces = Namespaces::default();
    let question =
        Question { bundle: "/", namespaces: &namespaces, cgroup_mount: None, label: None };
    let mut planned = mounts::plan(&[mount], &question, &mut Problems::default());
    let mount = planned.pop().expect("a bind mount is planned");
    [mount.attr, mount.recursive_attr]
}

/// Else mount_setattr(2) is EINVAL: the access time is one value of several bits, all of which are
/// cleared to set it. Of every other attribute, what is set is not cleared.
#[test]
fn no_order_of_words_sets_and_clears_one_attribute() {
    holds(words(), |words| {
        for attr in attributes(&words) {
            let (set, clear) = (attr.set, attr.clear);
            prop_assert_eq!(set & clear & !ATIME, 0, "{:?}", words);
            prop_assert!([0, NOATIME, STRICTATIME].contains(&(set & ATIME)), "{words:?}");
            prop_assert!([0, ATIME].contains(&(clear & ATIME)), "{words:?}");
            prop_assert!(set & ATIME == 0 || clear & ATIME == ATIME, "{words:?}");
        }
        Ok(())
    });
}

/// mount(8): options are applied in the order in which they are written.
#[test]
fn words_together_do_what_they_do_one_after_another() {
    let after = |flags: u64, attr: &MountAttr| flags & !attr.clear | attr.set;
    holds((words(), any::<u64>()), |(words, flags)| {
        let mut one_by_one = [flags; 2];
        for word in &words {
            let attrs = attributes(&[word]);
            one_by_one = [0, 1].map(|which| after(one_by_one[which], &attrs[which]));
        }
        let together = attributes(&words).each_ref().map(|attr| after(flags, attr));
        prop_assert_eq!(together, one_by_one, "{:?}", words);
        Ok(())
    });
}

// ----------------------------------------------------------------------- ids

/// What may be in an id: the words of runc, which engines rely on.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.";

#[test]
fn an_id_has_the_characters_that_are_documented() {
    for character in '\0'..='\u{2fff}' {
        let is_taken = check_id(&format!("a{character}")).is_ok();
        assert_eq!(is_taken, ALPHABET.contains(character), "{character:?}");
    }
    for (id, is_taken) in [
        ("", false),
        (".", false),
        ("..", false),
        ("...", true),
        (".a", true),
        ("-", true),
        ("a".repeat(255).as_str(), true),
        ("a".repeat(256).as_str(), false),
    ] {
        assert_eq!(check_id(id).is_ok(), is_taken, "{id:?}");
    }
}

#[test]
fn an_id_is_taken_if_each_of_its_characters_is() {
    let character =
        prop_oneof![9 => select(ALPHABET.chars().collect::<Vec<_>>()), 1 => any::<char>()];
    let ids = vec(character, 0..12).prop_map(String::from_iter);
    holds(ids, |id: String| {
        let characters = id.chars().all(|character| ALPHABET.contains(character));
        let is_right = characters && !["", ".", ".."].contains(&id.as_str());
        prop_assert_eq!(check_id(&id).is_ok(), is_right, "{:?}", id);
        Ok(())
    });
}

// ------------------------------------------------------------------- configs

/// Words that mean something somewhere, and some that mean nothing anywhere.
#[rustfmt::skip]
const EDGE_WORDS: [&str; 35] = [
    "", "/", "..", "/..", "/proc/self", "\0", "\n", "=", "A=", "1.0.0", "1.x", "0-", "0-1023", "1,,2",
    "-1", "99999999999999999999", "CAP_KILL", "RLIMIT_CPU", "SCHED_DEADLINE", "MPOL_BIND", "bind",
    "remount", "ro", "idmap", "rslave", "cgroup", "tmpfs", "pid", "user", "time", "%d", "net.a",
    "a.b/c", "~1", "\u{10ffff}",
];
const EDGE_NUMBERS: [i64; 10] = [i64::MIN, -1001, -1, 0, 1, 7, 1024, 1 << 16, 1 << 32, i64::MAX];

fn leaf() -> BoxedStrategy<Value> {
    prop_oneof![
        6 => select(EDGE_WORDS.to_vec()).prop_map(Value::from),
        4 => select(EDGE_NUMBERS.to_vec()).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => ".{0,40}".prop_map(Value::from),
        1 => (60_usize..400).prop_map(|length| Value::from("é".repeat(length))),
    ]
    .boxed()
}

/// Any value; its properties have names that hull knows, more often than not.
fn value() -> impl Strategy<Value = Value> {
    let mut known: Vec<String> = Vec::new();
    for name in names() {
        property_names(&json(&name), &mut known);
    }
    known.sort();
    known.dedup();
    let name = prop_oneof![3 => select(known), 1 => ".{0,8}"].boxed();
    leaf().prop_recursive(4, 24, 6, move |inner| {
        let objects = vec((name.clone(), inner.clone()), 0..6)
            .prop_map(|list| Value::Object(list.into_iter().collect()));
        prop_oneof![vec(inner, 0..6).prop_map(Value::from), objects]
    })
}

fn property_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| property_names(value, names)),
        Value::Object(map) => {
            for (name, value) in map {
                names.push(name.clone());
                property_names(value, names);
            }
        }
        _ => {}
    }
}

/// Pointers to all values of a document.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    found.push(pointer.to_owned());
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{pointer}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// A config of the folder with some of its values replaced: by one of the same type, so that it is
/// still read, or by any.
fn damaged() -> impl Strategy<Value = Value> {
    let configs: Vec<Value> = names().iter().map(|name| json(name)).collect();
    let place = (any::<Index>(), leaf(), value(), 0_u8..8);
    (select(configs), vec(place, 1..6)).prop_map(|(mut config, places)| {
        for (index, leaf, any, choice) in places {
            let mut all = Vec::new();
            pointers(&config, "", &mut all);
            let pointer = &all[index.index(all.len())];
            let place = config.pointer_mut(pointer).expect("the pointer was just made");
            let is_number = leaf.is_i64() || leaf.is_u64();
            match place {
                _ if choice == 0 => *place = any,
                _ if choice == 1 => *place = Value::Null,
                Value::String(_) if leaf.is_string() => *place = leaf,
                Value::Number(_) if is_number => *place = leaf,
                // All of them: an error in the first is not the end.
                Value::Array(list) if list.iter().all(Value::is_string) && leaf.is_string() => {
                    list.fill(leaf);
                }
                _ => {}
            }
        }
        config
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Unread,
    Refused,
    Planned,
}

/// The answer to a config, and that it is one that can be used.
fn answer(config: &Value, host: &Host) -> Result<Answer, TestCaseError> {
    let Ok(spec) = serde_json::from_str(&config.to_string()) else { return Ok(Answer::Unread) };
    let plan = match plan_of(spec, Manager::Cgroupfs, host) {
        Ok(plan) => plan,
        Err(error) => {
            prop_assert!(error.starts_with("config.json: /"), "{error}");
            prop_assert!(!error.contains('\n'), "{error}");
            return Ok(Answer::Refused);
        }
    };
    prop_assert!(plan_text(&plan).contains("rootfs /bundle/rootfs"));
    for mount in &plan.mounts {
        prop_assert_eq!(&normalize(&mount.destination), &mount.destination);
        prop_assert!(mount.destination != "/" && !mount.destination.contains('\0'));
    }
    let process = plan.process.map(|process| [process.args, process.env]);
    prop_assert!(!process.iter().flatten().flatten().any(|text| text.contains('\0')));
    Ok(Answer::Planned)
}

#[test]
fn no_config_is_too_strange_for_an_answer() {
    let answers = RefCell::new(Vec::new());
    let hosts = [host(""), Host { is_privileged: false, permitted: 0, ..host("wrong") }];
    let cases = (prop_oneof![5 => damaged(), 1 => value()], select(vec![0, 0, 0, 1]));
    holds(cases, |(config, which)| {
        answers.borrow_mut().push(answer(&config, &hosts[which])?);
        Ok(())
    });
    each_is_among(&answers.into_inner());
}

#[test]
fn no_value_is_too_strange_for_an_answer() {
    let words = EDGE_WORDS.map(Value::from).into_iter();
    let edges: Vec<Value> = words.chain(EDGE_NUMBERS.map(Value::from)).collect();
    let host = host("");
    let mut answers = Vec::new();
    for name in names() {
        let mut config = json(&name);
        shorten(&mut config);
        let mut all = Vec::new();
        pointers(&config, "", &mut all);
        for pointer in all {
            let value = config.pointer(&pointer).expect("the pointer was just made");
            for edge in &edges {
                // Of another type it is not read at all.
                if value.is_array() || value.is_object() || value.is_string() != edge.is_string() {
                    continue;
                }
                let mut config = config.clone();
                *config.pointer_mut(&pointer).expect("as above") = edge.clone();
                match answer(&config, &host) {
                    Ok(answer) => answers.push(answer),
                    Err(error) => panic!("{name}, {edge} at {pointer}: {error}"),
                }
            }
        }
    }
    each_is_among(&answers);
}

/// Leaves two entries of every list: the others are as they are.
fn shorten(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.truncate(2);
            list.iter_mut().for_each(shorten);
        }
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Each kind of answer was given, so what leads to it was tried.
fn each_is_among(answers: &[Answer]) {
    for kind in [Answer::Unread, Answer::Refused, Answer::Planned] {
        let count = answers.iter().filter(|answer| **answer == kind).count();
        assert!(count > 10, "{kind:?}: {count} of {}", answers.len());
    }
}
