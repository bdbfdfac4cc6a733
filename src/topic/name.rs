//! A name in 16 bytes.

use std::fmt;

/// The longest name that needs no memory of its own.
const INLINE_BYTES: usize = 14;

/// The name of a topic or a tag. There may be many, and most are short: up to 14 bytes are stored inline.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Name(Bytes);

#[derive(Clone, PartialEq, Eq)]
enum Bytes {
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    /// Boxed twice, so that the few long names do not make the value larger.
    Boxed(Box<Box<str>>),
}

impl Name {
    pub(crate) fn new(name: &str) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name.as_bytes());
                Self(Bytes::Inline { len: u8::try_from(name.len()).unwrap_or_default(), bytes })
            }
            None => Self(Bytes::Boxed(Box::new(name.into()))),
        }
    }

    /// Checks that the bytes are UTF-8. [`as_bytes`](Self::as_bytes) does not, and suffices for equality.
    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            // The bytes were a `str`.
            Bytes::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Bytes::Boxed(name) => name,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Boxed(name) => name.as_bytes(),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_text_and_is_small() {
        assert_eq!((size_of::<Name>(), size_of::<Option<Name>>()), (16, 16));
        let mut before = Name::new("before");
        for name in [
            "",
            "t",
            "user-12345",
            "fourteen bytes",
            "fifteen bytes..",
            "dreizehn Zölle",
            "ünïcödé…",
            "🦀🦀🦀🦀",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain((0..600).step_by(7).map(|len| "n".repeat(len)))
        {
            let made = Name::new(&name);
            assert_eq!((made.as_str(), made.as_bytes()), (name.as_str(), name.as_bytes()));
            assert!(made == made.clone() && (name.is_empty() || made != before), "{name}");
            assert_eq!(format!("{made:?}"), format!("{name:?}"));
            before = made;
        }
    }
}
