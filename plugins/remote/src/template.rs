//! Text with places for what is the tenant's: `{tenant}` and `{attributes.NAME}`.

use witgate_sdk::storage::{Context, Failure};

/// Text with places in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Text, each with the place after it; the last one has none.
    parts: Vec<(String, Option<Place>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tenant,
    Attribute(String),
}

impl Template {
    /// Reads a template. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (place, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: a `{{` has no `}}`"))?;
            let place = match place.strip_prefix("attributes.") {
                Some(name) if !name.is_empty() => Place::Attribute(name.to_owned()),
                _ if place == "tenant" => Place::Tenant,
                _ => {
                    return Err(format!(
                        "`{text}`: `{{{place}}}` should be `{{tenant}}` or `{{attributes.NAME}}`"
                    ));
                }
            };
            parts.push((before.to_owned(), Some(place)));
            rest = after;
        }
        parts.push((rest.to_owned(), None));
        Ok(Template { parts })
    }

    /// Whether it is the same for all tenants.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.parts.len() == 1
    }

    /// The text for a tenant, with each value in its place as `escape` leaves it. `escape` says no
    /// where a value may not stand there at all.
    pub fn fill(
        &self,
        context: &Context,
        escape: impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, Failure> {
        let tenant = &context.tenant;
        let mut out = String::new();
        for (text, place) in &self.parts {
            out.push_str(text);
            let (name, value) = match place {
                None => continue,
                Some(Place::Tenant) => ("name", tenant.as_str()),
                Some(Place::Attribute(name)) => {
                    let value = context.attribute(name).ok_or_else(|| {
                        Failure::unavailable(format!(
                            "tenant {tenant} has no attribute `{name}`: set its `attributes.{name}`"
                        ))
                    })?;
                    (name.as_str(), value)
                }
            };
            let escaped = escape(value).map_err(|why| {
                Failure::unavailable(format!("tenant {tenant}: its {name} `{value}` {why}"))
            })?;
            out.push_str(&escaped);
        }
        Ok(out)
    }
}

/// A value as a header has it: nothing else may begin in it, neither another header nor a secret.
pub fn header(value: &str) -> Result<String, String> {
    match value.contains(|c: char| c.is_control() || !c.is_ascii() || matches!(c, '{' | '}')) {
        true => Err("can't stand in a header: it should be printable ASCII without braces".to_owned()),
        false => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            tenant: "team-a".into(),
            attributes: vec![("org".into(), "7".into()), ("bad".into(), "x\r\ny: z".into())],
            request_id: String::new(),
        }
    }

    #[test]
    fn places_are_filled_with_what_is_the_tenants() {
        let fill = |text| Template::parse(text).unwrap().fill(&context(), header);
        assert_eq!(fill("plain").unwrap(), "plain");
        assert_eq!(fill("{tenant}/{attributes.org}!").unwrap(), "team-a/7!");
        let Err(Failure::Unavailable(trouble)) = fill("{attributes.none}") else {
            panic!()
        };
        assert!(
            trouble.message.contains("`attributes.none`"),
            "{}",
            trouble.message
        );
        assert!(matches!(fill("{attributes.bad}"), Err(Failure::Unavailable(_))));
    }

    #[test]
    fn another_place_is_refused() {
        for text in ["{org}", "{attributes.}", "{tenant", "{{secret:x}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
