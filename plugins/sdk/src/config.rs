//! Reads the configuration that `init` gets.

use serde::de::DeserializeOwned;

/// Reads a plugin's configuration. The error names the field, as a path from `config`, and what
/// was expected there.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => String::new(),
            path => format!(".{path}"),
        };
        let message = error.inner().to_string();
        // The operator wrote YAML: a position in the JSON that was made of it says nothing.
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(text, _)| text);
        format!("config{path}: {message}")
    })
}

#[cfg(test)]
mod tests {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its parsing is tested")]
        rules: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its parsing is tested")]
        limit: u32,
    }

    #[test]
    fn an_error_names_the_field_and_what_was_expected() {
        let cases = [
            (
                r#"{"rules":[{"limit":1},{"limit":"x"}]}"#,
                "config.rules[1].limit: invalid type: string \"x\", expected u32",
            ),
            (
                r#"{"rules":[{"limt":1}]}"#,
                "config.rules[0].limt: unknown field `limt`, expected `limit`",
            ),
            ("{}", "config: missing field `rules`"),
        ];
        for (json, expected) in cases {
            assert_eq!(super::parse::<Outer>(json).unwrap_err(), expected);
        }
    }
}
