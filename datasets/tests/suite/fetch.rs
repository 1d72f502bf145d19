//! Fetching: from a folder, and over HTTP from a server in this process.
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::common::{folder, gzip, message, repository};
use kd_datasets::{
    Error, Fetched, Kind, Normalization, Outcome, Published, PublishedFile, Route, fetch, fetch_by, verify,
};
use tempfile::TempDir;

const ONE: &[u8] = b"the first file";
const TWO: &[u8] = b"the second";

/// A set of two small files.
const TINY: Published = Published {
    name: "tiny",
    about: "two files",
    license: "none",
    classes: 2,
    shape: &[1],
    examples: (1, 1),
    normalization: Normalization::NONE,
    files: &[
        PublishedFile {
            name: "one",
            packed_bytes: 34,
            bytes: 14,
            sha256: "e7939f0b60ab303a2a6e28784cf5c5811b98dfd7e5cab7ab2a0fb9c4b38e50cb",
        },
        PublishedFile {
            name: "two",
            packed_bytes: 30,
            bytes: 10,
            sha256: "066085a464c84cc7b1517dd07b6004b4808b91236491eebf645e6a6b95436d38",
        },
    ],
    addresses: &["unused"],
};

/// What the server says to one request.
enum Answer {
    Body(Vec<u8>),
    /// Promises this many bytes more than it sends.
    CutOff(Vec<u8>, usize),
    Status(&'static str),
}

/// Serves by path, on a free port, for the rest of the process; returns its address.
fn serve(answer: impl Fn(&str) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let request = lines.next().unwrap_or_default();
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, length, body) = match answer(path) {
                Answer::Body(body) => ("200 OK", body.len(), body),
                Answer::CutOff(body, missing) => ("200 OK", body.len() + missing, body),
                Answer::Status(status) => (status, 0, Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            // A client that has seen enough hangs up.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

fn serve_good() -> String {
    serve(|path| match path {
        "one.gz" => Answer::Body(gzip(ONE)),
        "two.gz" => Answer::Body(gzip(TWO)),
        _ => Answer::Status("404 Not Found"),
    })
}

fn download(addresses: &[&str], to: &Path) -> Result<Fetched, Error> {
    fetch_by(&TINY, to, Route::Addresses(addresses), &mut |_, _| {})
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_are_downloaded_checked_and_kept() {
    let to = TempDir::new().unwrap();
    let address = serve_good();
    let mut bars = Vec::new();
    let fetched = fetch_by(&TINY, to.path(), Route::Addresses(&[&address]), &mut |done, total| {
        bars.push((done, total))
    });
    let fetched = fetched.unwrap();

    let outcomes: Vec<_> = fetched.files.iter().map(|file| file.outcome.clone()).collect();
    assert_eq!(outcomes, ["one.gz", "two.gz"].map(|name| Outcome::Downloaded(format!("{address}{name}"))));
    assert_eq!(names(&fetched.folder), ["one.gz", "two.gz"]);
    assert_eq!(fs::read(fetched.folder.join("two.gz")).unwrap(), gzip(TWO));
    assert_eq!((bars[0], bars[bars.len() - 1]), ((0, 64), (64, 64)));
    assert!(bars.is_sorted(), "{bars:?}");

    // Nobody is asked for what is there.
    let again = download(&[], to.path()).unwrap();
    assert!(again.files.iter().all(|file| file.outcome == Outcome::Kept));
}

#[test]
fn a_mirror_helps_where_an_address_fails() {
    let to = TempDir::new().unwrap();
    let absent = serve(|_| Answer::Status("404 Not Found"));
    let wrong = serve(|_| Answer::Body(gzip(b"another file's")));
    let cut_off = serve(|_| Answer::CutOff(gzip(ONE), 7));
    let endless = serve(|_| Answer::Body(vec![0x1f; 5000]));
    let good = serve_good();
    let fetched = download(&[&absent, &wrong, &cut_off, &endless, &good], to.path()).unwrap();
    assert!(
        fetched
            .files
            .iter()
            .all(|file| matches!(&file.outcome, Outcome::Downloaded(from) if from.starts_with(&good)))
    );
    assert_eq!(names(&fetched.folder), ["one.gz", "two.gz"]);

    let to = TempDir::new().unwrap();
    let error = download(&[&absent, &wrong, &cut_off, &endless], to.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::Download);
    let Error::Download { attempts, .. } = &error else { panic!("{error}") };
    let problem = |index: usize| attempts[index].problem.as_str();
    assert!(problem(0).contains("404"), "{}", problem(0));
    assert!(problem(1).contains("found SHA-256"), "{}", problem(1));
    assert!(!problem(2).is_empty());
    assert_eq!(problem(3), "expected at most 1058 bytes, and more came");
    assert!(message(&error, to.path()).contains("kd data fetch tiny --from DIR"));
    assert!(!to.path().join("tiny").exists(), "nothing is written that was not checked");
}

#[test]
fn a_machine_without_a_network_is_told_what_to_do() {
    let to = TempDir::new().unwrap();
    // A port that was free a moment ago, where nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = download(&[&format!("http://127.0.0.1:{port}/")], to.path()).unwrap_err();
    let text = message(&error, to.path());
    assert!(
        text.starts_with(&format!("cannot download `one.gz` of `tiny`: `http://127.0.0.1:{port}/one.gz`: ")),
        "{text}"
    );
    assert!(text.ends_with(
        "help: check the network and try again; or bring the files by other means and run `kd data fetch tiny --from DIR`"
    ));
}

#[test]
fn a_server_may_unpack_and_a_wrong_file_is_replaced() {
    let to = folder(&[("tiny/one.gz", b"wrong"), ("tiny/two", b"the sxcond")]);
    let address = serve(|path| match path {
        "one.gz" => Answer::Body(ONE.to_vec()),
        _ => Answer::Body(gzip(TWO)),
    });
    let fetched = download(&[&address], to.path()).unwrap();
    assert_eq!(names(&fetched.folder), ["one", "two.gz"]);
    let again = download(&[], to.path()).unwrap();
    assert!(again.files.iter().all(|file| file.outcome == Outcome::Kept));
}

#[test]
fn files_are_copied_from_a_folder_packed_or_plain() {
    for name in ["tiny/", ""] {
        let from = folder(&[(&format!("{name}one.gz"), &gzip(ONE)), (&format!("{name}two"), TWO)]);
        let to = TempDir::new().unwrap();
        let fetched = fetch_by(&TINY, to.path(), Route::Folder(from.path()), &mut |_, _| {}).unwrap();
        assert_eq!(fetched.folder, to.path().join("tiny"));
        assert_eq!(names(&fetched.folder), ["one.gz", "two"]);
        assert_eq!(fetched.files[1].outcome, Outcome::Copied(from.path().join(format!("{name}two"))));
    }
}

#[test]
fn a_folder_is_checked_before_anything_is_copied() {
    let copy = |from: &TempDir, to: &TempDir| {
        let error = fetch_by(&TINY, to.path(), Route::Folder(from.path()), &mut |_, _| {}).unwrap_err();
        message(&error, from.path())
    };
    let to = TempDir::new().unwrap();
    let says = copy(&folder(&[]), &to);
    assert!(says.starts_with("the data set `tiny` was not found; looked in `DIR/tiny`, `DIR`\n"), "{says}");
    let says = copy(&folder(&[("two", TWO)]), &to);
    assert!(says.starts_with("the data set `tiny` is incomplete: there is no file `DIR/one.gz`\n"), "{says}");
    let says = copy(&folder(&[("one.gz", &gzip(b"the fxrst file"))]), &to);
    assert!(
        says.starts_with("`DIR/one.gz`: expected the published file of `tiny` (14 bytes unpacked, SHA-256 `"),
        "{says}"
    );
    assert!(!to.path().join("tiny").exists());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let from = folder(&[("one", ONE), ("two", TWO)]);
    let to = folder(&[("tiny", b"a file where the folder should be")]);
    let error = fetch_by(&TINY, to.path(), Route::Folder(from.path()), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert_eq!(
        message(&error, to.path()),
        "cannot write `DIR/tiny/one`\nhelp: check the free space and your right to write there"
    );
    assert_eq!(names(to.path()), ["tiny"], "no temporary file is left");
}

#[test]
fn a_published_set_is_fetched_by_name() {
    let to = TempDir::new().unwrap();
    assert!(matches!(fetch("imagenet", to.path(), None, &mut |_, _| {}), Err(Error::UnknownSet { .. })));
    assert_eq!(fetch("digits", to.path(), None, &mut |_, _| {}).unwrap().files, []);
    let Some(datasets) = repository() else { return };
    let fetched = fetch("mnist", to.path(), Some(&datasets), &mut |_, _| {}).unwrap();
    assert_eq!(fetched.files.len(), 4);
    let folders = kd_datasets::Folders { cache: Some(to.path().to_owned()), ..Default::default() };
    assert!(verify("mnist", &folders).unwrap().is_good());
}
