//! `kd explain`: more about a problem than its message says.

use kd_train::explain;

use super::Context;
use crate::args::Explain;
use crate::failure::Failure;

pub(super) fn run(args: &Explain, context: &Context) -> Result<(), Failure> {
    let code = args.code.trim();
    let found = explain::explain(code)
        .ok_or_else(|| Failure::UnknownCode { code: code.to_owned(), nearest: explain::nearest(code) })?;
    let text = || format!("{}: {}\n\n{}", found.code, found.about, found.text);
    let json = || serde_json::json!({ "code": found.code, "about": found.about, "text": found.text });
    context.output.data(text, json)
}
