//! The header of a weight file, with a length that is right, or as it comes.
#![no_main]

use std::collections::BTreeMap;

use larder::mlx::{Listed, examine_listed, header_length};
use larder_fuzz::is_harmless;
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = r#"{"model_type":"llama","hidden_size":8,"num_hidden_layers":1,"intermediate_size":8,
"num_attention_heads":2,"rms_norm_eps":1e-5,"vocab_size":4}"#;

fn judge(bytes: Vec<u8>, size_bytes: u64) {
    if let Some(length) = header_length(&bytes, size_bytes) {
        assert!(length <= size_bytes);
    }
    let whole = |bytes: Vec<u8>| Listed {
        size_bytes: bytes.len() as u64,
        start: Some(bytes),
    };
    let files = BTreeMap::from([
        ("config.json".to_owned(), whole(CONFIG.into())),
        (
            "model.safetensors".to_owned(),
            Listed {
                size_bytes,
                start: Some(bytes),
            },
        ),
    ]);
    for trouble in examine_listed(&files).troubles {
        assert!(is_harmless(&trouble.sentence), "{:?}", trouble.sentence);
        assert!(trouble.sentence.len() < 2_000, "{}", trouble.sentence);
    }
}

fuzz_target!(|input: &[u8]| {
    // Two bytes say how much comes after the header.
    let Some((more, header)) = input.split_first_chunk::<2>() else {
        return;
    };
    let more = u64::from(u16::from_le_bytes(*more));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    let size = bytes.len() as u64 + more;
    judge(bytes, size);
    judge(header.to_vec(), (header.len() as u64).saturating_add(more));
    judge(header.to_vec(), u64::MAX - more);
});
