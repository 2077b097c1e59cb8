//! The unpacker from outside: real tars, real files, one file per subject.

mod archive;
mod bounds;
mod bundles;
#[path = "../case/mod.rs"]
mod case;
mod ended;
mod faithful;
mod forms;
mod hostile;
#[path = "../case/kernel.rs"]
mod kernel;
mod killed;
mod malformed;
mod merged;
mod need;
mod oracles;
mod overlay;
#[path = "../case/patience.rs"]
mod patience;
mod random;
mod rootless;
mod saved;
mod stores;
mod tree;
mod whiteouts;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = case::trials(&[
        bounds::TABLE,
        bundles::TABLE,
        ended::TABLE,
        faithful::TABLE,
        forms::TABLE,
        hostile::TABLE,
        killed::TABLE,
        malformed::TABLE,
        merged::TABLE,
        oracles::TABLE,
        overlay::TABLE,
        random::TABLE,
        rootless::TABLE,
        stores::TABLE,
        whiteouts::TABLE,
    ]);
    libtest_mimic::run(&arguments, trials).exit();
}
