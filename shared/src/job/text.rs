//! Closed sets of words.

/// An enum whose text form is used in JSON, in Redis, in metrics and in messages.
macro_rules! text_enum {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        // Derived, it would have the variants' names: `rename` takes what a macro gives it, utoipa does not.
        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::schema::Schema> {
                let text: &[&str] = &[$($doc.trim()),*];
                ::utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(::utoipa::openapi::schema::Type::String)
                    .enum_values(Some(Self::ALL.iter().map(|value| value.as_str())))
                    .description(Some(text.join(" ")))
                    .into()
            }
        }

        impl ::utoipa::ToSchema for $name {
            fn name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::job::UnknownText;
            fn from_str(text: &str) -> Result<Self, $crate::job::UnknownText> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::job::UnknownText {
                        text: text.chars().take(40).collect(),
                        allowed: &[$($text),+],
                    }),
                }
            }
        }
    };
}

/// A text that names no value of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {}", allowed.join(", "))]
pub struct UnknownText {
    /// What was given, shortened.
    pub text: String,
    /// What would have been right.
    pub allowed: &'static [&'static str],
}

pub(super) use text_enum;
