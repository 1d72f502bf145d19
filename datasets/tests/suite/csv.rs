//! `[data.csv]`: one's own tables, good and bad.
use crate::common::{based_in, folder, gzip, message};
use kd_datasets::{Csv, Dataset, Error, Kind, Pixels, Source};
use tempfile::TempDir;

/// Loads two tables, with `more` lines in the recipe.
fn load(train: &[u8], test: &[u8], more: &str) -> (TempDir, Result<Dataset, Error>) {
    let there = folder(&[("train.csv", train), ("test.csv", test)]);
    let recipe = format!("train = 'train.csv'\ntest = 'test.csv'\nclasses = 3\nvalidation = 1\n{more}");
    let source: Csv = toml::from_str(&recipe).unwrap();
    let loaded = source.load(&based_in(there.path()));
    (there, loaded)
}

#[test]
fn the_label_is_found_in_every_way() {
    for (table, more) in [
        ("1,2,0\n3,4,2\n", ""),
        ("1,2,0\n3,4,2\n", "label = 'last'\n"),
        ("0,1,2\n2,3,4\n", "label = 'first'\n"),
        ("1,0,2\n3,2,4\n", "label = 1\n"),
        ("a,kind,b\n1,0,2\n3,2,4\n", "label = 'kind'\nheader = true\n"),
        ("\u{feff}kind,a,b\n0,1,2\n2,3,4\n", "label = 'kind'\nheader = true\n"),
        ("a, kind ,b\r\n 1, 0 , 2\r\n\r\n3,2.0,\"4\"", "label = 'kind'\nheader = true\n"),
    ] {
        let (_there, loaded) = load(table.as_bytes(), table.as_bytes(), more);
        let set = loaded.unwrap();
        assert_eq!(set.train.pixels(), &Pixels::Floats(vec![1.0, 2.0, 3.0, 4.0]), "{table:?}");
        assert_eq!(set.train.labels(), [0, 2], "{table:?}");
        assert_eq!((set.shape.as_slice(), set.classes), ([2].as_slice(), 3));
    }
}

#[test]
fn values_are_shaped_and_normalized() {
    let (_there, loaded) = load(
        b"0,4,8,16,1\n",
        &gzip(b"16,16,16,16,0\n"),
        "shape = [1, 2, 2]\nscale = 16\nmean = 0.5\nstd = 0.5\n",
    );
    let set = loaded.unwrap();
    assert_eq!(set.shape, [1, 2, 2]);
    let mut rows = Vec::new();
    set.train.rows(&[0], &mut rows);
    assert_eq!(rows, [-1.0, -0.5, 0.0, 1.0]);
    set.test.rows(&[0], &mut rows);
    assert_eq!(rows, [1.0; 4]);
}

#[test]
fn mean_and_deviation_are_measured_after_the_division() {
    let (_there, loaded) = load(b"2,4,0\n6,8,1\n", b"100,100,0\n", "scale = 2\n");
    let set = loaded.unwrap();
    // 1, 2, 3 and 4.
    assert_eq!(set.mean(), 2.5);
    assert!((set.std() - 1.25_f32.sqrt()).abs() < 1e-6);
}

#[test]
fn wrong_tables_are_named() {
    struct Case {
        train: &'static str,
        test: &'static str,
        more: &'static str,
        says: &'static str,
        kind: Kind,
    }
    let good = "1,2,0\n";
    let case = |train, test, more, says| Case { train, test, more, says, kind: Kind::Malformed };
    let cases = [
        case(
            "1,2,0\n3,4\n",
            good,
            "",
            "`DIR/train.csv`, line 2: expected 3 columns as in the first line, found 2\n\
             help: separate cells by commas, and quote cells that hold one",
        ),
        case(
            good,
            "1,2,0\n\n3,4,0,5\n",
            "",
            "`DIR/test.csv`, line 3: expected 3 columns as in the first line, found 4\n\
             help: separate cells by commas, and quote cells that hold one",
        ),
        case(
            "1,2,0\n3,red,1\n",
            good,
            "",
            "`DIR/train.csv`, line 2, column 2: expected a finite number, found `red`\n\
             help: fill or remove the cell; texts and categories must become numbers first",
        ),
        case(
            "a,b,kind\n1,,1\n",
            good,
            "header = true\n",
            "`DIR/train.csv`, line 2, column 2 (`b`): expected a finite number, found ``\n\
             help: fill or remove the cell; texts and categories must become numbers first",
        ),
        case(
            "\r\n\r\n1,2,0\r\n\r\n\"3\r\n\",2,1\r\n?,2,1\r\n",
            good,
            "",
            "`DIR/train.csv`, line 7, column 1: expected a finite number, found `?`\n\
             help: fill or remove the cell; texts and categories must become numbers first",
        ),
        case(
            "1,inf,0\n",
            good,
            "",
            "`DIR/train.csv`, line 1, column 2: expected a finite number, found `inf`\n\
             help: if the first line names the columns, write `header = true`; separate cells by commas",
        ),
        case(
            "a,b,kind\n1,2,1\n",
            good,
            "",
            "`DIR/train.csv`, line 1, column 1: expected a finite number, found `a`\n\
             help: if the first line names the columns, write `header = true`; separate cells by commas",
        ),
        case(
            "1,2,0\n1,2,3\n",
            good,
            "",
            "`DIR/train.csv`, line 2, column 3: expected a label, a whole number from 0 to 2, found `3`\n\
             help: number the classes from 0, and check `classes` and the column of the label",
        ),
        case(
            good,
            "1,2,-1\n",
            "",
            "`DIR/test.csv`, line 1, column 3: expected a label, a whole number from 0 to 2, found `-1`\n\
             help: number the classes from 0, and check `classes` and the column of the label",
        ),
        case(
            "1,2,0.5\n",
            good,
            "",
            "`DIR/train.csv`, line 1, column 3: expected a label, a whole number from 0 to 2, found `0.5`\n\
             help: number the classes from 0, and check `classes` and the column of the label",
        ),
        case(
            "",
            good,
            "",
            "`DIR/train.csv`: expected examples, found an empty file\n\
             help: check that the file was written, and that it holds more than a header",
        ),
        case(
            "a,b,kind\n",
            good,
            "header = true\n",
            "`DIR/train.csv`: expected examples, found an empty file\n\
             help: check that the file was written, and that it holds more than a header",
        ),
        case(
            "1;2;0\n",
            good,
            "",
            "`DIR/train.csv`: expected a label and at least one more column, found 1\n\
             help: separate cells by commas",
        ),
        case(
            good,
            "1,0\n",
            "",
            "`DIR/test.csv`: expected examples of shape [2] as in `DIR/train.csv`, found [1]\n\
             help: check that files of the same set are named",
        ),
        case(
            "a,b,kind\n1,2,0\n",
            "b,a,kind\n2,1,0\n",
            "header = true\n",
            "`DIR/test.csv`: expected column 1 to be `a` as in `DIR/train.csv`, found `b`\n\
             help: bring the columns of both files into the same order",
        ),
        Case {
            train: good,
            test: good,
            more: "label = 3\n",
            says: "`DIR/train.csv`: expected the label column with index 3, found 3 columns without names\n\
                   help: `label` is \"last\", \"first\", a name of the header, or an index from 0",
            kind: Kind::Request,
        },
        Case {
            train: good,
            test: good,
            more: "label = 'kind'\n",
            says: "`DIR/train.csv`: expected the label column `kind`, found 3 columns without names\n\
                   help: a column can be named where the first line names the columns: write `header = true`",
            kind: Kind::Request,
        },
        Case {
            train: "a,b,kind\n1,2,0\n",
            test: good,
            more: "label = 'Kind'\nheader = true\n",
            says: "`DIR/train.csv`: expected the label column `Kind`, found the columns `a`, `b`, `kind`\n\
                   help: `label` is \"last\", \"first\", a name of the header, or an index from 0",
            kind: Kind::Request,
        },
        Case {
            train: good,
            test: good,
            more: "shape = [1, 2, 2]\n",
            says: "`DIR/train.csv`: expected 4 values a line for shape [1, 2, 2], found 2\n\
                   help: the product of `shape` is the number of columns beside the label",
            kind: Kind::Request,
        },
    ];
    for case in cases {
        let (there, loaded) = load(case.train.as_bytes(), case.test.as_bytes(), case.more);
        let error = loaded.unwrap_err();
        assert_eq!(message(&error, there.path()), case.says);
        assert_eq!(error.kind(), case.kind);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let (there, loaded) = load(b"1,2,0\n\n\xff\xfe,2,0\n", b"1,2,0\n", "");
    let error = loaded.unwrap_err();
    assert_eq!(
        message(&error, there.path()),
        "`DIR/train.csv`, line 3: expected comma-separated UTF-8 text, found other bytes\n\
         help: save the table as comma-separated UTF-8 text"
    );
}
