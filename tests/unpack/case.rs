//! A test and what it needs. A test whose need this host does not meet is counted as ignored, with
//! the reason beside its name.

use std::path::Path;

use libtest_mimic::Trial;

/// What a test cannot do without.
#[derive(Clone, Copy)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// Another one.
    NoRoot,
    /// A program of the host, found in PATH or where an administrator's are.
    Program(&'static str),
    /// A variable of the environment, because of what the test costs.
    Variable(&'static str, &'static str),
}

/// A row of a table: a sentence, its needs beyond the table's own, and the body.
pub struct Case {
    pub name: &'static str,
    pub needs: &'static [Need],
    pub body: fn(),
}

/// The tests of one file.
pub struct Table {
    pub file: &'static str,
    pub needs: &'static [Need],
    pub cases: &'static [Case],
}

/// `table!(Root; first_test, second_test[Program("tar")])`: the tests and what all of them need.
macro_rules! table {
    ($($all:expr),*; $($name:ident $([$($need:expr),*])?),* $(,)?) => {
        #[allow(unused_imports, reason = "a table without needs is a table too")]
        use crate::case::Need::*;
        pub const TABLE: crate::case::Table = crate::case::Table {
            file: module_path!(),
            needs: &[$($all),*],
            cases: &[$(crate::case::Case {
                name: stringify!($name),
                needs: &[$($($need),*)?],
                body: $name,
            }),*],
        };
    };
}
pub(crate) use table;

/// The trials of all tables.
pub fn trials(tables: &[Table]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for table in tables {
        let file = table.file.rsplit("::").next().unwrap_or(table.file);
        for case in table.cases {
            let body = case.body;
            let missing = table.needs.iter().chain(case.needs).find_map(|need| need.missing());
            let trial = Trial::test(format!("{file}::{}", case.name), move || {
                body();
                Ok(())
            });
            trials.push(match missing {
                Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
                None => trial,
            });
        }
    }
    trials
}

impl Need {
    /// Why this host does not meet the need.
    fn missing(self) -> Option<String> {
        let is_root = rustix::process::geteuid().is_root();
        let (met, reason) = match self {
            Self::Root => (is_root, "needs root".to_owned()),
            Self::NoRoot => (!is_root, "needs an ordinary user".to_owned()),
            Self::Program(name) => (has_program(name), format!("needs {name}")),
            Self::Variable(name, why) => {
                (std::env::var_os(name).is_some(), format!("needs {name} to be set: {why}"))
            }
        };
        (!met).then_some(reason)
    }
}

fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|directory| Path::new(directory).join(name).is_file())
}
