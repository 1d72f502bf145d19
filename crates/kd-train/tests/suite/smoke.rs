//! The smoke recipe, through the library, from an empty directory to a report.
use std::path::Path;

use kd_deploy::Tract;
use kd_train::Registry;
use kd_train::event::{Event, Sink};
use kd_train::recipe::Source;
use kd_train::run::Env;
use kd_train::session::{Options, start};

struct Notes(Vec<String>);

impl Sink for Notes {
    fn event(&mut self, event: Event) {
        match event {
            Event::Step { .. } => {}
            event => self.0.push(format!("{event:?}")),
        }
    }
}

#[test]
fn the_smoke_recipe_reaches_its_gates_on_either_kernels() {
    for kernels in ["own", "burn"] {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let text = std::fs::read_to_string(configs.join("smoke.toml")).unwrap();
        let source = Source { name: "smoke.toml".into(), text, folder: configs };
        let dir = tempfile::tempdir().unwrap();
        let env = Env {
            folders: Default::default(),
            engines: vec![Box::new(Tract)],
            absent: Vec::new(),
            caller_works: false,
        };
        let options = Options { base: dir.path().into(), ..Options::default() };
        let overrides = [format!("device.kernels={kernels}")];
        let mut notes = Notes(Vec::new());
        let outcome = start(&source, &overrides, &options, &env, &Registry::builtin(), &mut notes)
            .unwrap_or_else(|error| panic!("{error}\n{error:?}\n{}", notes.0.join("\n")));
        assert_eq!(outcome.gates_missed, 0, "{kernels}\n{}\n{}", outcome.report, notes.0.join("\n"));
    }
}
