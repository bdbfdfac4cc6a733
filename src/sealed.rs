//! Seals traits: only this crate implements them, so adding an implementation breaks nothing.

/// Other crates cannot name it, because the module is private.
pub trait Sealed {}

impl Sealed for () {}
impl Sealed for bool {}
impl<T, E> Sealed for Result<T, E> {}
