//! The unpacker from outside: real tars, real files, one file per subject.

mod archive;
mod case;
mod faithful;
mod hostile;
mod oracles;
mod overlay;
mod random;
mod rootless;
mod tree;
mod whiteouts;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = case::trials(&[
        faithful::TABLE,
        hostile::TABLE,
        oracles::TABLE,
        overlay::TABLE,
        random::TABLE,
        rootless::TABLE,
        whiteouts::TABLE,
    ]);
    libtest_mimic::run(&arguments, trials).exit();
}
