//! A storage plugin that does wrong when a series or a matcher has a label `do` that says what; it
//! takes everything else, and has nothing to read.

use std::{collections::BTreeMap, hint::black_box};

use witgate_sdk::{
    http::{Client, Granted, Method, Request},
    storage::{Batch, BatchBuilder, Context, Cursor, Failure, Piece, Query, Receipt, Storage},
};

/// The plugin.
#[derive(Debug)]
pub struct Misbehave {
    /// What `fetch` fetches: the configuration's `url`.
    url: String,
    /// What it does wrong in every write and check, whatever the labels say: `always`.
    always: Option<String>,
}

/// What a query finds.
#[derive(Debug)]
pub enum Found {
    /// Nothing, and so the end.
    Nothing,
    /// The same piece for ever.
    Endless,
    /// A piece whose columns do not fit together.
    Malformed,
}

witgate_sdk::export_storage!(Misbehave);

impl Storage for Misbehave {
    type Config = BTreeMap<String, String>;
    type Cursor = Found;

    fn new(mut config: Self::Config) -> Result<Self, String> {
        Ok(Self {
            url: config.remove("url").unwrap_or_default(),
            always: config.remove("always"),
        })
    }

    fn check(&mut self) -> Result<(), Failure> {
        match &self.always {
            Some(wrong) => self.misbehave(wrong),
            None => Ok(()),
        }
    }

    fn write(&mut self, _: &Context, batch: &Batch) -> Result<Receipt, Failure> {
        let told = batch.series().filter_map(|series| series.label("do"));
        for wrong in told.chain(self.always.as_deref()) {
            self.misbehave(wrong)?;
        }
        Ok(Receipt { rejected: Vec::new() })
    }

    fn read(&mut self, _: &Context, query: Query) -> Result<Found, Failure> {
        let told = query.matchers.iter().find(|matcher| matcher.name == "do");
        match told.map(|matcher| matcher.value.as_str()) {
            Some("endless") => Ok(Found::Endless),
            Some("malformed") => Ok(Found::Malformed),
            Some(wrong) => self.misbehave(wrong).map(|()| Found::Nothing),
            None => Ok(Found::Nothing),
        }
    }
}

impl Misbehave {
    fn misbehave(&self, wrong: &str) -> Result<(), Failure> {
        match wrong {
            "spin" => spin(),
            "eat-memory" => eat_memory(),
            "trap" => trap(),
            "fetch" => {
                let request = Request::new(Method::Get, &self.url);
                Granted
                    .send(&request)
                    .map_err(|error| Failure::unavailable(error.to_string()))?;
            }
            other => return Err(Failure::invalid(format!("there is no misbehaviour {other}"))),
        }
        Ok(())
    }
}

impl Cursor for Found {
    fn next(&mut self, samples: u32) -> Result<Option<Piece>, Failure> {
        let batch = |sample_ends| Batch {
            symbol_bytes: b"__name__endless".to_vec(),
            symbol_ends: vec![0, 8, 15],
            labels: vec![1, 2],
            label_ends: vec![2],
            timestamps: vec![1; samples as usize],
            values: vec![0; samples as usize],
            sample_ends,
            ..BatchBuilder::default().finish()
        };
        match self {
            Self::Nothing => Ok(None),
            Self::Endless => Ok(Some(batch(vec![samples]).into())),
            Self::Malformed => Ok(Some(batch(vec![samples + 1]).into())),
        }
    }
}

fn spin() {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

fn eat_memory() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[expect(clippy::panic, reason = "it is what it is for")]
fn trap() {
    panic!("told to");
}
