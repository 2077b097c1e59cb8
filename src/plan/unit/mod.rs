//! The unit of systemd that is a container's cgroup: a transient scope, of which systemd is told what
//! the kernel is told. Names: systemd.unit(5), systemd.slice(5). What engines give as cgroupsPath is
//! `slice:prefix:name`.

pub mod annotations;
pub mod properties;
mod variant;

use std::fmt;

use crate::dbus::value::Value;
use crate::plan::Problems;
use crate::plan::resources::{Resources, Setting};

/// A scope that will be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Its name, with the suffix.
    pub unit: String,
    /// The slice that it will be in, with the suffix.
    pub slice: String,
    /// The user whose service manager makes it, if it is not that of the system.
    pub user: Option<u32>,
    /// What else systemd is told, in this order.
    pub properties: Vec<Property>,
    /// What it is told when init is in the scope: it would keep init from being born.
    pub late: Vec<Property>,
}

/// A property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// The name on the bus.
    pub name: String,
    /// The value.
    pub value: Value,
    /// Whether a systemd that does not know it, or not this value, is told the others alone: the
    /// interface file is written all the same.
    pub is_optional: bool,
}

impl Property {
    /// A property that every systemd on a kernel that we support has.
    pub fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value, is_optional: false }
    }
}

/// The longest name of a unit (systemd.unit(5)).
const LONGEST: usize = 255;

/// The names of slice and scope: `system.slice` (a user's: `user.slice`) and `hull-ID.scope`, if the
/// path does not say.
pub fn names(path: &str, id: &str, user: Option<u32>, problems: &mut Problems) -> Option<Scope> {
    let pointer = "/linux/cgroupsPath";
    let default = if user.is_some() { "user.slice" } else { "system.slice" };
    let parts: Vec<&str> = path.split(':').collect();
    let (slice, prefix, name) = match parts[..] {
        [""] => (default, "hull", id),
        ["", prefix, name] => (default, prefix, name),
        [slice, prefix, name] => (slice, prefix, name),
        _ => {
            let message = format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
                 got {path:?} instead"
            );
            problems.add(pointer, message);
            return None;
        }
    };
    if let Err(why) = nested(slice) {
        problems.add(pointer, format_args!("{slice:?} is not the name of a slice: {why}"));
        return None;
    }
    if name.is_empty() || name.ends_with(".slice") {
        let why = "a container is a scope: its processes cannot be in a slice";
        problems.add(pointer, format_args!("{path:?} must end with the name of a scope: {why}"));
        return None;
    }
    let dash = if prefix.is_empty() { "" } else { "-" };
    let unit = format!("{}{dash}{}.scope", escape(prefix), escape(name));
    if unit.len() > LONGEST {
        let length = unit.len();
        problems
            .add(pointer, format_args!("the unit {unit:?} has {length} bytes, at most {LONGEST}"));
        return None;
    }
    let slice = slice.to_owned();
    Some(Scope { unit, slice, user, properties: Vec::new(), late: Vec::new() })
}

/// The cgroup of a slice below that of its manager: `a-b.slice` is in `a.slice` (systemd.slice(5)).
///
/// # Errors
/// Why it is no slice.
pub fn nested(slice: &str) -> Result<String, &'static str> {
    let name = slice.strip_suffix(".slice").ok_or("it must end with \".slice\"")?;
    // The root of all slices.
    if name == "-" {
        return Ok(String::new());
    }
    if !name.bytes().all(is_of_a_name) {
        return Err("it has a character that no unit may have");
    }
    let mut path = String::new();
    for (at, _) in name.match_indices('-').chain([(name.len(), "")]) {
        if at == 0 || name[..at].ends_with('-') {
            return Err("a part of it is empty");
        }
        path += &format!("/{}.slice", &name[..at]);
    }
    Ok(path)
}

/// What the name of a unit may have.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// Any other byte is written as `\xNN` (systemd.unit(5), "String Escaping for Inclusion in Unit
/// Names"). A "-" stays: in the name of a scope it means nothing.
fn escape(text: &str) -> String {
    let byte = |byte: u8| {
        if is_of_a_name(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") }
    };
    text.bytes().map(byte).collect()
}

impl Scope {
    /// Completes it with what the container is given. A scope is made around a process that is not
    /// init, and another one may join a user namespace for init: where there may not be as many, the
    /// limit comes when init is there alone.
    pub fn describe(&mut self, id: &str, annotated: Vec<Property>, resources: &mut Resources) {
        let is_tight = |setting: &mut Setting| {
            setting.file == "pids.max" && matches!(setting.value.as_str(), "0" | "1" | "2")
        };
        resources.late.extend(resources.settings.extract_if(.., is_tight));
        self.properties = properties::of_every_scope(id, &self.slice);
        self.properties.extend(properties::of(&mut resources.settings));
        self.late = properties::of(&mut resources.late);
        if !self.late.is_empty() {
            self.properties.push(Property::new("TasksMax", Value::Uint64(3)));
        }
        self.properties.extend(annotated);
    }
}

impl fmt::Display for Scope {
    /// One line for each property.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scope {} in {}", self.unit, self.slice)?;
        for Property { name, value, is_optional } in self.properties.iter().chain(&self.late) {
            let if_known = if *is_optional { " (if it is known)" } else { "" };
            writeln!(f, "property {name} = {value}{if_known}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, user: Option<u32>) -> Result<(String, String), String> {
        let mut problems = Problems::default();
        let scope = names(path, "a+b", user, &mut problems);
        scope.map(|it| (it.slice, it.unit)).ok_or_else(|| problems.wrong().join("; "))
    }

    #[test]
    fn a_path_is_a_slice_a_prefix_and_a_name() {
        for (path, slice, unit) in [
            ("", "system.slice", "hull-a\\x2bb.scope"),
            ("machine.slice:libpod:1f", "machine.slice", "libpod-1f.scope"),
            (":p:n", "system.slice", "p-n.scope"),
            ("-.slice::n", "-.slice", "n.scope"),
            (
                "kube-pods_1.slice:cri:a/b é",
                "kube-pods_1.slice",
                "cri-a\\x2fb\\x20\\xc3\\xa9.scope",
            ),
            ("a.slice:p:x\\x2dy", "a.slice", "p-x\\x2dy.scope"),
        ] {
            assert_eq!(of(path, None), Ok((slice.to_owned(), unit.to_owned())), "{path:?}");
        }
        assert_eq!(of("", Some(1000)).unwrap().0, "user.slice");
        assert_eq!(of(":p:n", Some(1000)).unwrap().0, "user.slice");
    }

    #[test]
    fn what_is_no_such_path_is_refused() {
        for (path, why) in [
            ("/a/b", "slice:prefix:name"),
            ("a:b", "slice:prefix:name"),
            ("a.slice:b:c:d", "slice:prefix:name"),
            ("a:b:c", "must end with \".slice\""),
            ("a/b.slice:b:c", "a character"),
            (".slice:b:c", "empty"),
            ("a--b.slice:b:c", "empty"),
            ("-a.slice:b:c", "empty"),
            ("a-.slice:b:c", "empty"),
            ("a.slice:b:", "a scope"),
            ("a.slice:b:c.slice", "a scope"),
            (&format!("a.slice:b:{}", "c".repeat(250)), "at most 255"),
        ] {
            let error = of(path, None).unwrap_err();
            assert!(error.contains(why), "{path:?}: {error}");
        }
    }

    #[test]
    fn a_slice_is_in_those_that_its_name_begins_with() {
        assert_eq!(nested("a-b-c.slice").unwrap(), "/a.slice/a-b.slice/a-b-c.slice");
        assert_eq!(nested("system.slice").unwrap(), "/system.slice");
        assert_eq!(nested("-.slice").unwrap(), "");
    }
}
