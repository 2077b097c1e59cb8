//! A program that does nothing: what `hack/bench` runs in the containers, and the price of starting
//! any static executable, against which the parsing of a command line is measured.

fn main() {}
