//! The published sets and the sources of a recipe, as tables.
//!
//! A set that anyone can fetch is one row: its files, the SHA-256 of their decompressed content, and addresses.

use std::path::PathBuf;

use crate::{Error, Folders, Normalization, digits, glosses};

/// A set that others published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Its name in a recipe, a folder and a command.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The terms it is published under.
    pub license: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// Shape of one example, where the recipe does not ask for another.
    pub shape: &'static [usize],
    /// Number of training and of test examples.
    pub examples: (usize, usize),
    /// From stored values to inputs: mean and standard deviation of the training pixels, as commonly rounded.
    pub normalization: Normalization,
    /// Its files. For images in the IDX format: training images, training labels, test images, test labels.
    pub files: &'static [PublishedFile],
    /// What a file's name is appended to for download, the official address first; empty where the set is embedded.
    pub addresses: &'static [&'static str],
}

/// One file of a published set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedFile {
    /// Its name without the `.gz` that it is published with; the plain file is as good.
    pub name: &'static str,
    /// Size as published, for a progress bar. Other packings of the same content differ.
    pub packed_bytes: u64,
    /// Size of the decompressed content.
    pub bytes: u64,
    /// SHA-256 of the decompressed content, in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998.
pub const MNIST: Published = Published {
    name: "mnist",
    about: "handwritten digits, 28x28 gray",
    license: "commonly stated as CC BY-SA 3.0 (LeCun, Cortes)",
    classes: 10,
    shape: &[1, 28, 28],
    examples: (60_000, 10_000),
    normalization: Normalization::constant(255.0, 0.1307, 0.3081),
    files: &[
        PublishedFile {
            name: "train-images-idx3-ubyte",
            packed_bytes: 9_912_422,
            bytes: 47_040_016,
            sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        },
        PublishedFile {
            name: "train-labels-idx1-ubyte",
            packed_bytes: 28_881,
            bytes: 60_008,
            sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        },
        PublishedFile {
            name: "t10k-images-idx3-ubyte",
            packed_bytes: 1_648_877,
            bytes: 7_840_016,
            sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        },
        PublishedFile {
            name: "t10k-labels-idx1-ubyte",
            packed_bytes: 4_542,
            bytes: 10_008,
            sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ],
    addresses: &[
        "http://yann.lecun.com/exdb/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
};

/// H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
/// Algorithms", arXiv 1708.07747, 2017.
pub const FASHION_MNIST: Published = Published {
    name: "fashion-mnist",
    about: "articles of clothing, 28x28 gray",
    license: "MIT (Zalando SE)",
    classes: 10,
    shape: &[1, 28, 28],
    examples: (60_000, 10_000),
    normalization: Normalization::constant(255.0, 0.2860, 0.3530),
    files: &[
        PublishedFile {
            name: "train-images-idx3-ubyte",
            packed_bytes: 26_421_880,
            bytes: 47_040_016,
            sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        },
        PublishedFile {
            name: "train-labels-idx1-ubyte",
            packed_bytes: 29_515,
            bytes: 60_008,
            sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        },
        PublishedFile {
            name: "t10k-images-idx3-ubyte",
            packed_bytes: 4_422_102,
            bytes: 7_840_016,
            sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        },
        PublishedFile {
            name: "t10k-labels-idx1-ubyte",
            packed_bytes: 5_148,
            bytes: 10_008,
            sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ],
    addresses: &[
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ],
};

/// E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
pub const DIGITS: Published = Published {
    name: "digits",
    about: "handwritten digits, 8x8 gray, by writers who are not in the training set",
    license: "CC BY 4.0 (UCI)",
    classes: 10,
    shape: &[1, 8, 8],
    examples: (3_823, 1_797),
    normalization: Normalization::constant(16.0, 0.3077, 0.3773),
    files: &[
        PublishedFile {
            name: "train.csv",
            packed_bytes: 112_530,
            bytes: 563_639,
            sha256: "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd",
        },
        PublishedFile {
            name: "test.csv",
            packed_bytes: 53_392,
            bytes: 264_712,
            sha256: "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
        },
    ],
    addresses: &[],
};

/// C. Fellbaum (editor), "WordNet: An Electronic Lexical Database", 1998; version 3.0, Princeton University, 2006.
pub const WORDNET_GLOSSES: Published = Published {
    name: "wordnet-glosses",
    about: "definitions of nouns as bytes, by the lexicographer file that they come from",
    license: "WordNet 3.0 license (Princeton University)",
    classes: 26,
    shape: &[64],
    examples: (73_974, 8_141),
    normalization: Normalization::NONE,
    files: &[
        PublishedFile {
            name: "train.tsv",
            packed_bytes: 1_693_789,
            bytes: 6_095_249,
            sha256: "08f91cc7a1b7291ad17b1d692e74cdf0b7c9bc339a4dd62c1764082792672c71",
        },
        PublishedFile {
            name: "test.tsv",
            packed_bytes: 212_413,
            bytes: 671_744,
            sha256: "5eff9053d25e858ff4e4c5ab556bb490026529407266db89ba858d799233155b",
        },
    ],
    addresses: &[],
};

impl Published {
    /// All of them.
    pub const ALL: &'static [Published] = &[MNIST, FASHION_MNIST, DIGITS, WORDNET_GLOSSES];

    /// The set with this name.
    ///
    /// # Errors
    /// [`Error::UnknownSet`] with the names there are.
    pub fn named(name: &str) -> Result<&'static Published, Error> {
        Self::ALL.iter().find(|set| set.name == name).ok_or_else(|| Error::UnknownSet {
            name: name.to_owned(),
            known: Self::ALL.iter().map(|set| set.name).collect(),
        })
    }

    /// Whether the program itself holds the files.
    pub fn is_embedded(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The packed files that the program holds, in the order of `files`; none of a set that is not embedded.
    pub(crate) fn embedded(&self) -> &'static [&'static [u8]] {
        match self.name {
            name if name == DIGITS.name => &digits::FILES,
            name if name == WORDNET_GLOSSES.name => &glosses::FILES,
            _ => &[],
        }
    }
}

/// A published set and where it is on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The set.
    pub set: &'static Published,
    /// Where its files were found; not checked, which [`verify`](crate::verify) does.
    pub availability: Availability,
}

/// Where the files of a set are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// In the program.
    Embedded,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere; `kd data fetch NAME` brings it.
    Absent,
}

/// All published sets, with where each is.
pub fn list(folders: &Folders) -> Vec<Listing> {
    Published::ALL
        .iter()
        .map(|set| Listing {
            set,
            availability: match folders.find(set) {
                _ if set.is_embedded() => Availability::Embedded,
                Ok(folder) => Availability::Folder(folder),
                Err(_) => Availability::Absent,
            },
        })
        .collect()
}

/// A table that a recipe's `[data]` may hold, for lists and reference pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceDoc {
    /// Name of the table.
    pub name: &'static str,
    /// What it reads, in a line.
    pub about: &'static str,
    /// Its keys.
    pub knobs: &'static [Knob],
}

/// A key of a recipe table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knob {
    /// Its name.
    pub name: &'static str,
    /// What holds where it is not given; `None` where it must be.
    pub default: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
}

const PATH: Knob = Knob {
    name: "path",
    default: Some("searched"),
    about: "folder that holds the files, instead of the ones that are searched",
};
const CLASSES: Knob =
    Knob { name: "classes", default: None, about: "number of classes, at least 2; labels count from 0" };
const MEAN: Knob = Knob {
    name: "mean",
    default: Some("measured"),
    about: "mean of the training values after the division by `scale`",
};
const STD: Knob = Knob {
    name: "std",
    default: Some("measured"),
    about: "standard deviation of the training values after the division by `scale`",
};

const fn validation(default: Option<&'static str>) -> Knob {
    Knob { name: "validation", default, about: "training examples set aside, by seed, to choose an epoch" }
}

/// Every source of this crate.
pub const SOURCES: &[SourceDoc] = &[
    SourceDoc { name: MNIST.name, about: MNIST.about, knobs: &[PATH, validation(Some("5000"))] },
    SourceDoc {
        name: FASHION_MNIST.name,
        about: FASHION_MNIST.about,
        knobs: &[PATH, validation(Some("5000"))],
    },
    SourceDoc { name: DIGITS.name, about: DIGITS.about, knobs: &[validation(Some("380"))] },
    SourceDoc {
        name: WORDNET_GLOSSES.name,
        about: WORDNET_GLOSSES.about,
        knobs: &[
            Knob {
                name: "length",
                default: Some("64"),
                about: "bytes of a definition that are read, 1 to 512; shorter ones are filled with zeros",
            },
            validation(Some("5000")),
        ],
    },
    SourceDoc {
        name: "idx",
        about: "your own files in MNIST's format, plain or gzip",
        knobs: &[
            Knob {
                name: "train-images",
                default: None,
                about: "file of `[n, h, w]`, `[n, c, h, w]` or `[n, features]` values",
            },
            Knob { name: "train-labels", default: None, about: "file of `[n]` whole numbers" },
            Knob { name: "test-images", default: None, about: "as `train-images`" },
            Knob { name: "test-labels", default: None, about: "as `train-labels`" },
            CLASSES,
            validation(None),
            Knob {
                name: "scale",
                default: Some("255 for bytes, else 1"),
                about: "what values are divided by",
            },
            MEAN,
            STD,
        ],
    },
    SourceDoc {
        name: "csv",
        about: "your own comma-separated tables, plain or gzip",
        knobs: &[
            Knob { name: "train", default: None, about: "file with one example a line" },
            Knob { name: "test", default: None, about: "file with the same columns" },
            CLASSES,
            validation(None),
            Knob {
                name: "label",
                default: Some("\"last\""),
                about: "column of the class: `\"last\"`, `\"first\"`, a name of the header, or an index from 0",
            },
            Knob {
                name: "header",
                default: Some("false"),
                about: "whether the first line names the columns",
            },
            Knob {
                name: "shape",
                default: Some("[features]"),
                about: "shape of one example, such as `[1, 8, 8]`",
            },
            Knob { name: "scale", default: Some("1"), about: "what values are divided by" },
            MEAN,
            STD,
        ],
    },
];
