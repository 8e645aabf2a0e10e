//! Web origins: what a request goes to, and what a grant allows.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::Uri;

/// Scheme, host and port that a request goes to, in one canonical form: two spellings of the
/// same host are equal, and what is compared here is also what is dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// The schemes that plugins may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// The host of an origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// A lower-case name.
    Name(String),
    /// An address; an IPv4 address that is written as IPv6 is one of IPv4.
    Address(IpAddr),
}

/// The origins that a grant allows: exactly one, or with a host of `*.example.com` all names
/// below that one. Written `https://influxdb.example.com`, `http://10.0.0.7:8086`,
/// `http://[::1]:8086` or `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OriginPattern {
    origin: Origin,
    below: bool,
}

/// What is not an origin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an origin that can be granted: {reason}")]
pub struct OriginError {
    text: String,
    reason: &'static str,
}

/// A request's address that is not in the form of a web origin.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the authority has to be a plain host and port, without a user name")]
pub(crate) struct NotAnOrigin;

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("http") => Some(Self::Http),
            _ if text.eq_ignore_ascii_case("https") => Some(Self::Https),
            _ => None,
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Host {
    /// Reads a host as it stands in an authority, IPv6 addresses in brackets.
    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return Some(Self::Address(address.parse::<Ipv6Addr>().ok()?.to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let named = !text.is_empty() && text.len() <= 253 && text.chars().all(plain);
        let dotted = text.starts_with('.') || text.ends_with('.') || text.contains("..");
        (named && !dotted).then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl Origin {
    /// The origin of a request. Its authority must be nothing but a host and a port: in
    /// `granted@evil` or `granted:x` two readers could see two different hosts.
    pub(crate) fn of(uri: &Uri) -> Result<Self, NotAnOrigin> {
        let scheme = uri.scheme_str().and_then(Scheme::parse).ok_or(NotAnOrigin)?;
        let authority = uri.authority().ok_or(NotAnOrigin)?.as_str();
        Self::parse(scheme, authority).ok_or(NotAnOrigin)
    }

    fn parse(scheme: Scheme, authority: &str) -> Option<Self> {
        let split = match authority.rfind(']') {
            Some(bracket) => authority
                .get(bracket + 1..)?
                .find(':')
                .map(|colon| bracket + 1 + colon),
            None => authority.find(':'),
        };
        let (host, port) = match split {
            Some(colon) => {
                let digits = authority.get(colon + 1..)?;
                let port = digits
                    .bytes()
                    .all(|b| b.is_ascii_digit())
                    .then(|| digits.parse::<u16>());
                (authority.get(..colon)?, port?.ok().filter(|port| *port != 0)?)
            }
            None => (authority, scheme.default_port()),
        };
        Some(Self {
            scheme,
            host: Host::parse(host)?,
            port,
        })
    }
}

impl OriginPattern {
    /// Whether the pattern allows an origin.
    pub(crate) fn matches(&self, origin: &Origin) -> bool {
        let granted = &self.origin;
        if granted.scheme != origin.scheme || granted.port != origin.port {
            return false;
        }
        if !self.below {
            return granted.host == origin.host;
        }
        match (&granted.host, &origin.host) {
            (Host::Name(parent), Host::Name(name)) => name
                .strip_suffix(parent.as_str())
                .is_some_and(|label| label.len() > 1 && label.ends_with('.')),
            _ => false,
        }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.origin.scheme
    }

    /// The origin, if the pattern allows exactly one.
    pub(crate) fn exact(&self) -> Option<&Origin> {
        (!self.below).then_some(&self.origin)
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refuse = |reason| OriginError {
            text: text.to_owned(),
            reason,
        };
        let form = "write `http://HOST:PORT` or `https://HOST:PORT`";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse(form))?;
        let scheme = Scheme::parse(scheme).ok_or_else(|| refuse("only http and https can be granted"))?;
        if rest.contains('@') {
            return Err(refuse(
                "a user name has no place in it; secrets are granted in `secrets`",
            ));
        }
        if rest.trim_end_matches('/').contains(['/', '?', '#', '\\']) {
            return Err(refuse("leave out the path: a grant is for the whole origin"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (authority, below) = match authority.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (authority, false),
        };
        if authority.contains('*') {
            return Err(refuse(
                "`*` can only stand for the first part of a name: `https://*.example.com`",
            ));
        }
        let origin = Origin::parse(scheme, authority).ok_or_else(|| refuse(form))?;
        if let Host::Name(name) = &origin.host {
            // Resolvers read `127.1` and `0x7f000001` as addresses, whatever they look like here.
            let last = name.rsplit('.').next().unwrap_or_default();
            if last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit()) {
                return Err(refuse("write an address in full: `127.0.0.1`"));
            }
        }
        if below && !matches!(&origin.host, Host::Name(name) if name.contains('.')) {
            return Err(refuse("`*.` needs a name with at least two parts after it"));
        }
        Ok(Self { origin, below })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme, self.host)?;
        if self.port == self.scheme.default_port() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http://",
            Self::Https => "https://",
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.below {
            return write!(f, "{}", self.origin);
        }
        let shown = self.origin.to_string();
        write!(
            f,
            "{}*.{}",
            self.origin.scheme,
            shown.trim_start_matches(&self.origin.scheme.to_string())
        )
    }
}

#[cfg(test)]
mod tests;
