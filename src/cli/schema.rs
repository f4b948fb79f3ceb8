//! Owns the JSON Schemas of everything that goes to stdout as JSON, embedded from `assets/schema`.

/// The document of `pull`.
pub const PULL_SCHEMA: &str = include_str!("../../assets/schema/pull.schema.json");
/// The document of `ls`.
pub const LS_SCHEMA: &str = include_str!("../../assets/schema/ls.schema.json");
/// A line of `--events`.
pub const EVENT_SCHEMA: &str = include_str!("../../assets/schema/event.schema.json");
/// The document of `config`.
pub const CONFIG_SCHEMA: &str = include_str!("../../assets/schema/config.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_schemas() {
        for text in [PULL_SCHEMA, LS_SCHEMA, EVENT_SCHEMA, CONFIG_SCHEMA] {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(jsonschema::meta::is_valid(&schema));
            assert_eq!(
                schema["$schema"],
                "https://json-schema.org/draft/2020-12/schema"
            );
        }
    }
}
