//! Knobs that are numbers with a range, refused outside it when they are read: as a type, for a knob that the public
//! interface has, or as a reader of a plain field.

/// Defines a number with a range, refused outside it when it is read.
macro_rules! number {
    (
        $(#[$about:meta])*
        $name:ident: $knob:literal, $default:literal, $expected:literal, $fits:expr
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// A value.
            ///
            /// # Errors
            ///
            /// [`Error::OutOfRange`](crate::Error::OutOfRange).
            pub fn new(value: f64) -> Result<Self, crate::Error> {
                let fits: fn(f64) -> bool = $fits;
                if value.is_finite() && fits(value) {
                    Ok($name(value))
                } else {
                    Err(crate::Error::OutOfRange { name: $knob, expected: $expected, found: value })
                }
            }

            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name($default)
            }
        }

        impl TryFrom<f64> for $name {
            type Error = crate::Error;

            fn try_from(value: f64) -> Result<Self, crate::Error> {
                $name::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(number: $name) -> f64 {
                number.0
            }
        }
    };
}

pub(crate) use number;

/// Defines a function for `deserialize_with` that reads a number and refuses it, where it stands in a recipe, outside
/// its range.
macro_rules! ranged {
    ($reader:ident, $knob:literal, $expected:literal, |$x:ident| $fits:expr) => {
        fn $reader<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
            let $x: f64 = serde::Deserialize::deserialize(from)?;
            let refused = || crate::Error::OutOfRange { name: $knob, expected: $expected, found: $x };
            ($fits).then_some($x).ok_or_else(|| serde::de::Error::custom(refused()))
        }
    };
}

pub(crate) use ranged;
