//! Real peers as children of the test. (Being written.)
