//! What a user sees, word for word: `tests/cmd/*.md`. `TRYCMD=overwrite cargo test -p kd-cli --test transcripts`
//! writes them anew.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        // Nothing of this machine: no data but what is built in, no ONNX Runtime, no cache that exists.
        .env("KD_DATA", "")
        .env("ORT_DYLIB_PATH", "")
        .env("XDG_CACHE_HOME", "/nonexistent")
        .case("tests/cmd/*.md");
}
