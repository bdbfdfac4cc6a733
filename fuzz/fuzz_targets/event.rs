//! Events of any text: see `mio_sse_fuzz::event`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mio_sse_fuzz::event::check(data));
