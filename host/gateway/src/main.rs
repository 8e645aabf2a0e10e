//! The `witgate` binary.

fn main() {}
