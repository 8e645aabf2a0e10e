//! What a claims plugin implements, and reading the claims of a token.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::bindings::claims::exports::witgate::claims::mapping;
use crate::config;

pub use crate::bindings::claims::witgate::claims::types::{Denial, Extra, Identity, VerifiedToken};

/// A claims plugin: names the user behind a verified token. Export it with
/// [`export_claims!`](crate::export_claims).
pub trait Claims: Sized + 'static {
    /// What the operator writes in the plugin's `config`. Refuse unknown fields
    /// (`#[serde(deny_unknown_fields)]`): a misspelled rule must not be silently absent.
    type Config: DeserializeOwned;

    /// Checks the configuration. The error says which field is wrong and what it should be.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Names the user, or denies. Must depend on the configuration and the token only.
    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial>;
}

/// Ends a call that can neither name the user nor deny them, because something that it needs did not
/// answer. The reason goes to the gateway's log; the user is told to come again, or is let in by the
/// last answer if the operator allows that (`claimsOutage`).
#[expect(clippy::panic, reason = "a trap is how the contract says this")]
pub fn fail(reason: &str) -> ! {
    crate::log::error(reason);
    panic!("{reason}")
}

/// The claims of a token, parsed.
///
/// ```
/// use witgate_sdk::claims::ClaimSet;
///
/// let claims = ClaimSet::parse(r#"{"sub":"1","realm_access":{"roles":["dev"]}}"#).unwrap();
/// assert_eq!(claims.text("sub").unwrap(), Some("1"));
/// assert_eq!(claims.texts("realm_access.roles").unwrap(), ["dev"]);
/// assert!(claims.text("realm_access").is_err());
/// assert!(claims.texts("absent").unwrap().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct ClaimSet(Map<String, Value>);

/// A [`Claims`] as the component exports it. Made by [`export_claims!`](crate::export_claims).
pub struct Exported<P>(PhantomData<P>);

/// Makes a [`Claims`] what this component exports.
///
/// ```
/// use witgate_sdk::claims::{Claims, Denial, Identity, VerifiedToken};
///
/// struct Subject;
///
/// impl Claims for Subject {
///     type Config = std::collections::BTreeMap<String, String>;
///     fn new(_: Self::Config) -> Result<Self, String> {
///         Ok(Subject)
///     }
///     fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
///         Ok(Identity { user: token.subject.clone(), uid: None, groups: vec![], extra: vec![] })
///     }
/// }
///
/// witgate_sdk::export_claims!(Subject);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_claims {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the component's exports, generated")]
        mod witgate_exports {
            type Component = $crate::claims::Exported<super::$plugin>;
            $crate::bindings::claims::export!(Component with_types_in $crate::bindings::claims);
            $crate::stamp!();
        }
    };
}

trait Resolve {
    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial>;
}

thread_local! {
    // The plugin that `init` made. One component exports one.
    static PLUGIN: RefCell<Option<Box<dyn Resolve>>> = const { RefCell::new(None) };
}

impl<P: Claims> Resolve for P {
    fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
        Claims::resolve(self, token)
    }
}

impl<P: Claims> mapping::Guest for Exported<P> {
    fn init(config: String) -> Result<(), String> {
        let plugin = P::new(config::parse(&config)?)?;
        PLUGIN.with(|slot| slot.replace(Some(Box::new(plugin))));
        Ok(())
    }

    fn resolve(token: VerifiedToken) -> Result<Identity, Denial> {
        PLUGIN.with(|slot| match slot.borrow().as_deref() {
            Some(plugin) => plugin.resolve(&token),
            None => Err(Denial::new("the claims plugin was called before its init")),
        })
    }
}

impl<P> fmt::Debug for Exported<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}

impl Denial {
    /// Why the bearer is not let in, in words for that person and without the claims themselves.
    pub fn new(reason: impl Into<String>) -> Self {
        Denial {
            reason: reason.into(),
        }
    }
}

impl ClaimSet {
    /// Reads a token's claims. The gateway has parsed them before, so this fails for nobody.
    pub fn parse(claims: &str) -> Result<Self, Denial> {
        serde_json::from_str(claims)
            .map(ClaimSet)
            .map_err(|_| Denial::new("the token's claims are not a JSON object"))
    }

    /// The claim with this name, or else the one that it is a path to: `realm_access.roles` is
    /// `roles` in the object `realm_access`. The name as it stands comes first, because names that
    /// are URLs have dots in them. `null` is the same as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.get(name).or_else(|| {
            let mut parts = name.split('.');
            let first = self.0.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        });
        found.filter(|value| !value.is_null())
    }

    /// A claim that is a string. Any other type is a denial that names the claim.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Denial> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Denial::new(format!(
                "the claim `{name}` of your token is {}, and should be a string",
                kind(other)
            ))),
        }
    }

    /// The claim that names the user: a string, not empty. An `email` that the issuer says is not
    /// verified (`email_verified`, OpenID Connect Core section 5.1) is a denial: anybody can claim
    /// anybody's address.
    ///
    /// ```
    /// # use witgate_sdk::claims::ClaimSet;
    /// let claims = ClaimSet::parse(r#"{"email":"a@example.com","email_verified":false}"#).unwrap();
    /// assert!(claims.user_name("email").is_err());
    /// ```
    pub fn user_name(&self, claim: &str) -> Result<Option<&str>, Denial> {
        let name = self.text(claim)?.filter(|name| !name.is_empty());
        if name.is_some()
            && claim == "email"
            && !matches!(self.get("email_verified"), None | Some(Value::Bool(true)))
        {
            return Err(Denial::new(
                "your e-mail address is not verified; confirm it with your identity provider",
            ));
        }
        Ok(name)
    }

    /// A claim that is a list of strings; empty when it is absent. Any other type, also of a single
    /// element, is a denial that names the claim.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, Denial> {
        let wrong = |what: String| {
            Denial::new(format!(
                "the claim `{name}` of your token {what}, and should be a list of strings"
            ))
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    item.as_str()
                        .ok_or_else(|| wrong(format!("has {} in it", kind(item))))
                })
                .collect(),
            Some(other) => Err(wrong(format!("is {}", kind(other)))),
        }
    }
}

/// A JSON type in words, without the value: denials must not repeat claims.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dots_is_taken_as_it_stands_before_it_is_a_path() {
        let claims = ClaimSet::parse(r#"{"a.b":"name","a":{"b":"path","c":{"d":"deep"}}}"#).unwrap();
        assert_eq!(claims.text("a.b").unwrap(), Some("name"));
        assert_eq!(claims.text("a.c.d").unwrap(), Some("deep"));
        assert_eq!(claims.text("a.c.x").unwrap(), None);
    }

    #[test]
    fn claims_of_another_type_are_denied_without_their_value() {
        let claims = ClaimSet::parse(r#"{"n":4711,"l":["a",4711],"none":null}"#).unwrap();
        assert_eq!(
            claims.text("n").unwrap_err().reason,
            "the claim `n` of your token is a number, and should be a string"
        );
        assert_eq!(
            claims.texts("l").unwrap_err().reason,
            "the claim `l` of your token has a number in it, and should be a list of strings"
        );
        assert!(claims.texts("none").unwrap().is_empty());
    }

    #[test]
    fn the_export_parses_the_configuration_and_then_resolves() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Config {
            prefix: String,
        }
        struct Plugin(Config);
        impl Claims for Plugin {
            type Config = Config;
            fn new(config: Config) -> Result<Self, String> {
                Ok(Plugin(config))
            }
            fn resolve(&self, token: &VerifiedToken) -> Result<Identity, Denial> {
                let user = format!("{}{}", self.0.prefix, token.subject);
                Ok(Identity {
                    user,
                    uid: None,
                    groups: vec![],
                    extra: vec![],
                })
            }
        }
        type Component = Exported<Plugin>;
        let token = VerifiedToken {
            issuer: "i".into(),
            subject: "jane".into(),
            claims: "{}".into(),
        };
        let unknown = <Component as mapping::Guest>::init(r#"{"prfix":""}"#.into()).unwrap_err();
        assert_eq!(unknown, "config.prfix: unknown field `prfix`, expected `prefix`");
        assert!(<Component as mapping::Guest>::resolve(token.clone()).is_err());
        <Component as mapping::Guest>::init(r#"{"prefix":"oidc:"}"#.into()).unwrap();
        assert_eq!(
            <Component as mapping::Guest>::resolve(token).unwrap().user,
            "oidc:jane"
        );
    }
}
