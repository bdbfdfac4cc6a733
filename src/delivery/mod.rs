//! Who was given what.

pub(crate) mod cursor;
pub(crate) mod extras;

#[cfg(test)]
mod tests;
