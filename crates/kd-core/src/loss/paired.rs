//! The knobs that every loss on one pair of features has, written once.

/// Defines the knobs of a loss on one pair of sites: `student`, `teacher`, `connector` and those of its own with their
/// defaults.
macro_rules! paired {
    (
        $(#[$about:meta])*
        $name:ident { $( $(#[$meaning:meta])* $knob:ident: $type:ty = $default:expr, )* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct $name {
            /// The student's site; empty for the only one.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub student: String,
            /// The teacher's site; empty for the only one.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub teacher: String,
            /// How to join them; none leaves it to the shapes.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub connector: Option<crate::ConnectorKind>,
            $( $(#[$meaning])* pub $knob: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { student: String::new(), teacher: String::new(), connector: None, $($knob: $default,)* }
            }
        }

        impl $name {
            /// The loss of two sites, every other knob at its default.
            pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
                Self { student: student.into(), teacher: teacher.into(), ..Self::default() }
            }

            /// The two sites for a loss that compares features of different shapes by itself: nothing joins them unless a
            /// connector is named.
            #[allow(dead_code, reason = "each loss needs one of the two")]
            fn pair_as_it_is(&self) -> crate::SitePair {
                let connector = self.connector.or(Some(crate::ConnectorKind::AsIs));
                crate::SitePair { connector, ..self.pair() }
            }

            #[allow(dead_code, reason = "each loss needs one of the two")]
            fn pair(&self) -> crate::SitePair {
                crate::SitePair {
                    student: self.student.clone(),
                    teacher: self.teacher.clone(),
                    connector: self.connector,
                }
            }
        }
    };
}

/// What the three shared knobs say about themselves.
pub(crate) const STUDENT: crate::Knob = crate::Knob::required("student", "a site of the student");
/// See [`STUDENT`].
pub(crate) const TEACHER: crate::Knob = crate::Knob::required("teacher", "a site of the teacher");
/// The connector of a loss that compares features of different shapes by itself.
pub(crate) const AS_IT_IS: crate::Knob = crate::Knob::optional(
    "connector",
    "as `hint` has them; when left out, none: features are compared as they are",
);
/// See [`STUDENT`].
pub(crate) const CONNECTOR: crate::Knob = crate::Knob::optional(
    "connector",
    "identity, linear, conv, conv-batch-norm, conv-3x3, conv-3x3-batch-norm, tokens-to-map, map-to-tokens, upsample, or \
     mixture of several sites of the student, joined by `+`; when left out, chosen by the two shapes",
);

pub(crate) use paired;
