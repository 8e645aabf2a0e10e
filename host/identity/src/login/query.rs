//! The query of a request to `/login` or `/callback`.

use std::{borrow::Cow, collections::HashMap};

use super::LoginError;

/// Codes and states are a few hundred bytes.
const MAX: usize = 8 << 10;

/// Parameters by name, each there once (RFC 6749 section 3.1).
pub(super) struct Query<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Query<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, LoginError> {
        if text.len() > MAX {
            return Err(LoginError::Query("it is over 8 KiB"));
        }
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if parameters.insert(name, value).is_some() {
                return Err(LoginError::Query("a parameter is there twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's value, if it has one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(AsRef::as_ref)
            .filter(|value| !value.is_empty())
    }
}
