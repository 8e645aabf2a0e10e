use std::{env, fs, path::Path};

use super::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("write_v1", write_v1),
    ("write_v2", write_v2),
    ("read_request", read_request),
    ("compression", compression),
    ("regex", regex),
    ("relabelling", relabelling),
    ("histogram", histogram),
    ("xor_chunk", xor_chunk),
];

/// Changed inputs for each target, in the environment or else so many: a second's worth.
const MUTATIONS: (&str, usize) = ("WITGATE_MUTATIONS", 1500);

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
    let mut inputs: Vec<_> = fs::read_dir(directory.join(target))
        .unwrap()
        .map(|input| {
            let path = input.unwrap().path();
            (path.display().to_string(), fs::read(path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// Every input that was ever worth keeping.
#[test]
fn the_corpus_is_taken_without_a_complaint() {
    for (target, run) in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{target}");
        for (name, input) in inputs {
            // What fails says its name before.
            eprintln!("{name}");
            run(&input);
        }
    }
}

/// Inputs that are almost those of the corpus, the same ones each time: what `cargo fuzz` finds sooner,
/// and this needs no other compiler for.
#[test]
fn what_is_like_the_corpus_is_taken_without_a_complaint() {
    let mutations = env::var(MUTATIONS.0).map_or(MUTATIONS.1, |number| number.parse().unwrap());
    for (target, run) in TARGETS {
        let inputs = corpus(target);
        let mut random = Random(0x5eed);
        for _ in 0..mutations {
            let mut input = inputs[random.below(inputs.len())].1.clone();
            let other = &inputs[random.below(inputs.len())].1;
            for _ in 0..=random.below(4) {
                random.change(&mut input, other);
            }
            let result = std::panic::catch_unwind(|| run(&input));
            assert!(result.is_ok(), "{target} fails with {input:?}");
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end as u64).unwrap()
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        const BYTES: [u8; 10] = [0, 1, 2, 8, 0x0a, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
        let at = self.below(input.len() + 1);
        match self.below(6) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = BYTES[self.below(BYTES.len())],
            2 => input.insert(at, BYTES[self.below(BYTES.len())]),
            3 => {
                let end = at + self.below(input.len() + 1 - at);
                input.drain(at..end);
            }
            4 => {
                let end = at + self.below((input.len() + 1 - at).min(64));
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}
