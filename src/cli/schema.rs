//! Owns the JSON Schemas of everything that goes to stdout as JSON, embedded from `assets/schema`.

/// The document of `pull`.
pub const PULL_SCHEMA: &str = include_str!("../../assets/schema/pull.schema.json");
/// The document of `ls`.
pub const LS_SCHEMA: &str = include_str!("../../assets/schema/ls.schema.json");
/// The document of `history`.
pub const HISTORY_SCHEMA: &str = include_str!("../../assets/schema/history.schema.json");
/// The document of `ready` and of `wait`.
pub const READY_SCHEMA: &str = include_str!("../../assets/schema/ready.schema.json");
/// A line of `--events`.
pub const EVENT_SCHEMA: &str = include_str!("../../assets/schema/event.schema.json");
/// The document of `status`.
pub const STATUS_SCHEMA: &str = include_str!("../../assets/schema/status.schema.json");
/// The document of `verify`.
pub const VERIFY_SCHEMA: &str = include_str!("../../assets/schema/verify.schema.json");
/// The document of `doctor`.
pub const DOCTOR_SCHEMA: &str = include_str!("../../assets/schema/doctor.schema.json");
/// The document of `locks`.
pub const LOCKS_SCHEMA: &str = include_str!("../../assets/schema/locks.schema.json");
/// The document of `purge`.
pub const PURGE_SCHEMA: &str = include_str!("../../assets/schema/purge.schema.json");
/// The document of `import`.
pub const IMPORT_SCHEMA: &str = include_str!("../../assets/schema/import.schema.json");
/// The document of `guide`.
pub const GUIDE_SCHEMA: &str = include_str!("../../assets/schema/guide.schema.json");
/// The document of `trash`.
pub const TRASH_SCHEMA: &str = include_str!("../../assets/schema/trash.schema.json");
/// The document of `report`.
pub const REPORT_SCHEMA: &str = include_str!("../../assets/schema/report.schema.json");
/// The document of `config`.
pub const CONFIG_SCHEMA: &str = include_str!("../../assets/schema/config.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 15] = [
        IMPORT_SCHEMA,
        GUIDE_SCHEMA,
        DOCTOR_SCHEMA,
        LOCKS_SCHEMA,
        HISTORY_SCHEMA,
        READY_SCHEMA,
        PULL_SCHEMA,
        LS_SCHEMA,
        STATUS_SCHEMA,
        VERIFY_SCHEMA,
        PURGE_SCHEMA,
        TRASH_SCHEMA,
        REPORT_SCHEMA,
        CONFIG_SCHEMA,
        EVENT_SCHEMA,
    ];

    #[test]
    fn schemas_are_schemas() {
        for text in ALL {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(jsonschema::meta::is_valid(&schema));
            assert_eq!(
                schema["$schema"],
                "https://json-schema.org/draft/2020-12/schema"
            );
        }
    }

    /// The names of the fields of a schema's object.
    fn fields(shape: &serde_json::Value) -> impl Iterator<Item = &String> {
        shape["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
    }

    #[test]
    fn the_guide_names_every_field() {
        let guide = include_str!("../../assets/guides/json.md");
        for text in ALL {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap();
            let parts = schema["$defs"].as_object().unwrap().values();
            let events = schema["oneOf"].as_array().into_iter().flatten();
            for shape in std::iter::once(&schema).chain(parts).chain(events) {
                for name in fields(shape) {
                    assert!(
                        guide.contains(&format!("`{name}`")),
                        "{name} is not in the guide"
                    );
                }
                if let Some(event) = shape["properties"]["event"]["const"].as_str() {
                    assert!(guide.contains(&format!("`{event}`")), "{event}");
                }
            }
        }
    }
}
