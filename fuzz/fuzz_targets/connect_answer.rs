#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pcs_fuzz::run("connect_answer", data));
