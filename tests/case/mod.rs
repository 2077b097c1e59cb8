//! A test and what it needs, for each suite that has needs (its own `need.rs` says which there are). A test whose
//! need this host does not meet is counted as ignored, with the reason beside its name.

use libtest_mimic::Trial;

use crate::need::Need;

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

/// `table!(Root, Busybox; first_test, second_test[Program("ip")])`: the file's tests and what all of them need.
macro_rules! table {
    ($($all:expr),*; $($name:ident $([$($need:expr),*])?),* $(,)?) => {
        #[allow(unused_imports, reason = "a table without needs is a table too")]
        use crate::need::Need::*;
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
