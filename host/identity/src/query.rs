//! The parameters of a request, in its query or its form.

use std::{borrow::Cow, collections::HashMap};

/// Codes and states are a few hundred bytes, tokens up to 16 KiB.
const MAX: usize = 32 << 10;

/// Parameters by name, each there once (RFC 6749 section 3.1).
pub(crate) struct Query<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Query<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX {
            return Err("it is over 32 KiB");
        }
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if parameters.insert(name, value).is_some() {
                return Err("a parameter is there twice");
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value, if it has one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(AsRef::as_ref)
            .filter(|value| !value.is_empty())
    }
}
